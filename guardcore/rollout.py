"""Sampling images and keeping what the update scores again.

The core alone draws: a sampler says how the next latents are distributed, this file draws them
from noise that depends on (seed, iteration, purpose, sample) only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guardcore.clock import Clock
from guardcore.components import Backbone, Sampler
from guardcore.condition import Condition
from guardcore.schedule import Schedule, Step
from guardcore.tensors import promote
from guardcore.transition import Transition, ode_step

NoiseSource = Callable[[str], Tensor]
"""From a purpose to standard normal noise ``[B, …]`` on the CPU."""


@dataclass(frozen=True, eq=False)
class TakenStep:
    """One stochastic step as it was taken; consecutive steps share ``x_next`` and ``x``.

    Attributes:
        step: The step of each row.
        x: ``[B, …]``, at the precision in which it is scored again.
        x_next: ``[B, …]``, likewise.
        old: The distribution that drew ``x_next``.
        precision: The dtype of the backbone's velocity.
    """

    step: Step
    x: Tensor
    x_next: Tensor
    old: Transition
    precision: torch.dtype


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A micro-batch of the rollout.

    Attributes:
        samples: The samples' numbers within the iteration.
        condition: Their condition, one row a sample.
        steps: The stochastic steps, in order.
        indices: Their places in the schedule.
    """

    samples: range
    condition: Condition
    steps: Sequence[TakenStep]
    indices: Sequence[int]

    @property
    def rows(self) -> slice:
        """The samples' rows in tensors over the whole iteration."""
        return slice(self.samples.start, self.samples.stop)


@torch.no_grad()
def denoise(
    backbone: Backbone,
    sampler: Sampler,
    schedule: Schedule,
    condition: Condition,
    noise: NoiseSource,
    stochastic: Collection[int],
    clock: Clock,
) -> tuple[Tensor, list[TakenStep]]:
    """Take all steps: the sampler's at the ``stochastic`` ones, the ODE's at the others.

    Returns:
        The final latents ``[B, …]`` and the stochastic steps as they were taken.
    """
    x = noise("start").to(schedule.sigmas.device)
    taken = []
    for index in range(len(schedule)):
        step = schedule.step(index, len(x))
        with clock("rollout"):
            raw = backbone.velocity(x, step.sigma, condition)
        velocity = promote(raw)
        if index in stochastic:
            old = sampler.transition(velocity, x, step)
            x_next = old.draw(noise(f"step {index}"))
            taken.append(TakenStep(step, x, x_next, old, raw.dtype))
        else:
            x_next = ode_step(velocity, x, step).mean
        x = x_next
    return x, taken


@torch.no_grad()
def decode(backbone: Backbone, x: Tensor, condition: Condition, clock: Clock) -> Tensor:
    """Return images ``[B, 3, H, W]`` in [0, 1], float32 on the CPU, where rewards look at them."""
    with clock("decode"):
        return backbone.decode(x, condition).float().cpu()
