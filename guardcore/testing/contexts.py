"""Small realistic step contexts, for tests and notebooks."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from guardcore import noise
from guardcore.components import Sampler
from guardcore.ratio import StepContext
from guardcore.registry import create
from guardcore.schedule import Schedule
from guardcore.tensors import Reduction

SHIFT = 3.0
"""SD3's: more of the steps at high noise."""


def step_context(
    rows: int = 4,
    shape: Sequence[int] = (4, 8, 8),
    *,
    steps: Sequence[int] | None = None,
    num_inference_steps: int = 10,
    change: float = 1e-2,
    seed: int = 0,
    reduction: Reduction = "mean",
    sampler: Sampler | None = None,
    dtype: torch.dtype = torch.float32,
) -> StepContext:
    """Return what an update would show to a word: drawn under old weights, scored under new ones.

    Each row depends on its number, its step and ``seed`` alone, so that contexts of other batches
    hold the same rows. ``velocity`` requires a gradient, and ``new`` depends on it.

    Args:
        rows: B.
        shape: Of one row of latents.
        steps: The step of each row; 0, 1, … by default, the last one left out.
        num_inference_steps: T, of a schedule shifted as SD3's.
        change: Root mean square of the new velocity minus the old; 0: nothing was learnt yet.
        seed: Of everything drawn.
        reduction: Over latent dimensions.
        sampler: ``flow-sde`` by default.
        dtype: Of the velocities, as a backbone would return them; half precision is promoted from
            there on, as in a run, and float64 stays float64.

    Raises:
        IndexError: A step outside ``0 … T-2``: the last one is never trained.
    """
    trained = num_inference_steps - 1
    chosen = [row % trained for row in range(rows)] if steps is None else list(steps)
    if len(chosen) != rows or not all(0 <= step < trained for step in chosen):
        raise IndexError(f"expected {rows} steps from 0 to {trained - 1}, received {chosen}")
    sampler = sampler or create("sampler", "flow-sde")
    wide = torch.promote_types(dtype, torch.float32)
    step = shifted_schedule(num_inference_steps, wide).step(torch.tensor(chosen), rows)
    x, velocity, moved, away, drawn = (
        noise.draw(shape, seed, 0, what, range(rows)).to(wide)
        for what in ("x", "velocity", "moved", "away", "drawn")
    )
    velocities = (velocity, velocity + change * moved, velocity + change * away)
    first, new, anchor = (values.to(dtype).to(wide) for values in velocities)
    new.requires_grad_()
    old = sampler.transition(first, x, step)
    return StepContext(
        step=step,
        old=old,
        new=sampler.transition(new, x, step),
        x_next=old.draw(drawn),
        reduction=reduction,
        advantage=noise.draw((), seed, 0, "advantage", range(rows)),
        velocity=new,
        reference=sampler.transition(anchor, x, step),
        reference_velocity=anchor,
    )


def shifted_schedule(steps: int, dtype: torch.dtype = torch.float32) -> Schedule:
    """Return ``steps`` evenly spaced levels from 1 to 0, shifted as SD3's."""
    even = torch.linspace(1, 0, steps + 1, dtype=dtype)
    return Schedule(SHIFT * even / (1 + (SHIFT - 1) * even))
