"""One question to a backbone, asked again and again: the same latents, noise levels and prompts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from guardcore import noise
from guardcore.components import Backbone
from guardcore.condition import Condition
from guardcore.prompt import Prompt
from guardcore.testing.law import BrokenError

TEXTS = ("a red disc", "two blue squares left of a green star, in the rain, drawn with a pen")
"""Of different length: padding must not show."""

LEVELS = (0.9, 0.3)
"""sigma of each row: rows may be at different steps."""

ROUNDED = 1e-4
"""Of the largest velocity. Another batch shape alone moves one by 1e-6 in float32 on the CPU."""

COARSE = 5e-2
"""The same in half precision or on an accelerator, where it moves by 1e-2, more under guidance."""


@dataclass(frozen=True, eq=False)
class Probe:
    """A backbone with what is asked of it; sizes in pixels."""

    backbone: Backbone
    height: int
    width: int

    @property
    def prompts(self) -> list[Prompt]:
        """One a row."""
        return [Prompt(text) for text in TEXTS]

    def encode(self, prompts: Sequence[Prompt]) -> Condition:
        """Return the condition for this size."""
        return self.backbone.encode(prompts, self.height, self.width)

    @cached_property
    def condition(self) -> Condition:
        """Both prompts', encoded together."""
        return self.encode(self.prompts)

    @cached_property
    def sigma(self) -> Tensor:
        """``[2]``, where a run has it: on the schedule's device."""
        device = self.backbone.schedule(2, self.height, self.width).sigmas.device
        return torch.tensor(LEVELS, device=device)

    @cached_property
    def x(self) -> Tensor:
        """Latents ``[2, …]``."""
        shape = self.backbone.latent_shape(self.height, self.width)
        return noise.draw(shape, 0, 0, "contract", range(len(TEXTS))).to(self.sigma.device)

    @torch.no_grad()
    def velocity(self, condition: Condition | None = None) -> Tensor:
        """Return the velocity ``[2, …]`` as the backbone is now."""
        return self.backbone.velocity(self.x, self.sigma, condition or self.condition)

    def tolerance(self, velocity: Tensor) -> float:
        """Return by how much a velocity may differ that is computed another way."""
        types = [velocity, *self.condition.tensors.values()]
        half = any(t.is_floating_point() and t.element_size() < 4 for t in types)
        share = COARSE if half or self.x.device.type != "cpu" else ROUNDED
        return share * float(velocity.abs().max())

    def alike(self, velocity: Tensor, other: Tensor, what: str) -> None:
        """Refuse velocities that differ by more than their precision explains."""
        gap, allowed = _gap(velocity, other), self.tolerance(velocity)
        if not gap <= allowed:
            raise BrokenError(f"{what}: it differs by {gap:.1e}, where {allowed:.1e} is rounding")

    def same(self, first: Tensor, second: Tensor, what: str) -> None:
        """Refuse tensors that differ in a bit."""
        if not torch.equal(first, second):
            raise BrokenError(
                f"{what}: expected the same to the bit, differs by {_gap(first, second):.1e}"
            )

    @contextlib.contextmanager
    def moved(self) -> Iterator[Tensor]:
        """Inside, the weights are as after some training; yields their velocity.

        They move until it shows beyond rounding, and come back to the bit.
        """
        base, parameters = self.velocity(), self.backbone.trainable()
        before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        try:
            yield self._move(base)
        finally:
            with torch.no_grad():
                for name, parameter in self.backbone.trainable().items():
                    parameter.copy_(before[name])

    def _move(self, base: Tensor) -> Tensor:
        for doubling in range(12):
            self.shift(0.005 * 2**doubling, f"move {doubling}")
            moved = self.velocity()
            if _gap(base, moved) > 10 * self.tolerance(base):
                return moved
        raise BrokenError("what is trained was changed at random, and no velocity changed with it")

    @torch.no_grad()
    def shift(self, share: float, purpose: str) -> None:
        """Add noise to what is trained: ``share`` of each one's size, or of 1 where it is 0."""
        for place, parameter in enumerate(self.backbone.trainable().values()):
            size = parameter.square().mean().sqrt().item() or 1.0
            drawn = noise.draw(parameter.shape, 0, 0, purpose, [place])[0]
            parameter.add_((share * size * drawn).to(parameter))


def _gap(first: Tensor, second: Tensor) -> float:
    if first.shape != second.shape:
        return float("inf")
    return float((first.double() - second.double()).abs().max())
