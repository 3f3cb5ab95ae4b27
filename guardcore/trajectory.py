"""What the rollout keeps of a micro-batch, for the update to score again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from guardcore.condition import Condition
from guardcore.schedule import Step
from guardcore.transition import Transition


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

    def each(self, move: Callable[[Tensor], Tensor]) -> TakenStep:
        """Return the step with ``move`` applied to every tensor."""
        step, old = self.step, self.old
        return replace(
            self,
            step=Step(move(step.index), move(step.sigma), move(step.sigma_next), step.sigma_max),
            x=move(self.x),
            x_next=move(self.x_next),
            old=Transition(move(old.mean), move(old.std), move(old.velocity_gain)),
        )


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

    def onload(self) -> Trajectory:
        """Return it where it can be scored: this one is there."""
        return self

    def offload(self) -> Offloaded:
        """Return it in the host's memory."""
        distinct, places = distinct_rows(self.condition)
        return Offloaded(
            samples=self.samples,
            condition=distinct.to("cpu"),
            steps=_to(self.steps, torch.device("cpu")),
            indices=self.indices,
            places=places,
            device=self.steps[0].x.device,
        )


@dataclass(frozen=True, eq=False)
class Offloaded(Trajectory):
    """A micro-batch in the host's memory.

    Attributes:
        condition: Its distinct rows: the samples of a group share their prompt's.
        places: ``[B]``, each sample's row of ``condition``.
        device: Where it was sampled, and is scored again.
    """

    places: Tensor
    device: torch.device

    def offload(self) -> Offloaded:
        """Return it in the host's memory: this one is there."""
        return self

    def onload(self) -> Trajectory:
        """Return it where it was sampled, equal to the last bit."""
        condition = self.condition.to(self.device).rows(self.places.to(self.device))
        steps = _to(self.steps, self.device)
        return Trajectory(self.samples, condition, steps, self.indices)


def distinct_rows(condition: Condition) -> tuple[Condition, Tensor]:
    """Return the rows that differ from the one before, and the place ``[B]`` of each among them."""
    new = torch.ones(len(condition), dtype=torch.bool)
    if len(new) > 1:
        differs = [
            (tensor[1:] != tensor[:-1]).reshape(len(new) - 1, -1).any(1)
            for tensor in condition.tensors.values()
        ]
        new[1:] = torch.stack(differs).any(0).cpu()
    return condition.rows(new.nonzero().flatten().tolist()), new.cumsum(0) - 1


def _to(steps: Sequence[TakenStep], device: torch.device) -> list[TakenStep]:
    """Return the steps on a device; what they shared, they share there."""
    moved: dict[int, Tensor] = {}

    def move(tensor: Tensor) -> Tensor:
        if id(tensor) not in moved:
            moved[id(tensor)] = tensor.to(device)
        return moved[id(tensor)]

    return [taken.each(move) for taken in steps]
