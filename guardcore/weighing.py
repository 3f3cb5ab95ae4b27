"""Advantages: asked for, checked and named when they break their contract."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from guardcore.errors import ComponentError
from guardcore.run import Run


def weigh(run: Run, rewards: Mapping[str, Tensor], groups: Tensor, steps: int) -> Tensor:
    """Return the advantages ``[N, S]`` over the S trained steps.

    Raises:
        ComponentError: The advantage raised, or returned another shape or a non-finite number.
    """
    who = f"advantage {run.config.advantage.use!r}"
    try:
        advantages = run.advantage(rewards, groups, run.reward_weights)
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
    return advantages
