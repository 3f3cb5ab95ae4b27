"""Advantages: asked for, checked and named when they break their contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from guardcore.errors import ComponentError
from guardcore.run import Run
from guardcore.tensors import moved


@dataclass(frozen=True, eq=False)
class Weighed:
    """What each of an iteration's N samples weighs in the loss.

    Attributes:
        advantages: ``[N, S]``, over the S trained steps; 0 for what doesn't count.
        counted: ``[N]`` bool; False for samples whose place others have taken.
    """

    advantages: Tensor
    counted: Tensor

    def terms(self, batches: Iterable[slice], steps: int) -> int:
        """Return how many (sample, step) terms count in the rows of some micro-batches."""
        return sum(int(self.counted[rows].sum()) for rows in batches) * steps

    def of(self, rows: slice, device: torch.device) -> Weighed:
        """Return what some rows weigh, on a device."""
        return Weighed(moved(self.advantages[rows], device), moved(self.counted[rows], device))

    def mean(self, loss: Tensor, terms: int) -> Tensor:
        """Return what the losses ``[N]`` add to a mean over ``terms``."""
        return loss.where(self.counted, 0).sum() / terms


def weigh(run: Run, rewards: Mapping[str, Tensor], counted: Tensor, steps: int) -> Weighed:
    """Return the advantages over the trained steps, of which there are ``steps``; on the CPU.

    The advantage sees the rows that count and no others: rewards ``[N]``, group by group.

    Raises:
        ComponentError: The advantage raised, or returned another shape or a non-finite number.
    """
    who = f"advantage {run.config.advantage.use!r}"
    groups = torch.arange(int(counted.sum())) // run.config.rollout.group_size
    seen = {name: values[counted] for name, values in rewards.items()}
    try:
        advantages = run.advantage(seen, groups, run.reward_weights)
    except Exception as error:
        raise ComponentError(f"{who} raised {type(error).__name__}: {error}") from error
    shape = tuple(advantages.shape) if isinstance(advantages, Tensor) else type(advantages).__name__
    if shape == (len(groups),):
        advantages = advantages[:, None].expand(-1, steps)
    elif shape != (len(groups), steps):
        raise ComponentError(
            f"{who} must return [{len(groups)}] or [{len(groups)}, {steps}], received {shape}"
        )
    if not advantages.isfinite().all():
        raise ComponentError(f"{who} returned a number that is not finite")
    every = advantages.new_zeros(len(counted), steps)
    every[counted] = advantages
    return Weighed(every, counted)
