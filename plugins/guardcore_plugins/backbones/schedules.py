"""The noise levels that a diffusers pipeline would follow."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from guardcore import Schedule


def pipeline_schedule(
    scheduler: Any, steps: int, tokens: int, device: torch.device, even: bool = False
) -> Schedule:
    """Return the sigmas ``[steps+1]``, float32, last 0, as the pipeline's call would set them.

    Args:
        scheduler: The pipeline's ``FlowMatchEulerDiscreteScheduler``; it is left as it is.
        steps: Denoising steps.
        tokens: Image tokens: latent height times width, in patches.
        device: Where the sigmas are wanted.
        even: Shift even steps from 1 to ``1/steps``, as FLUX's pipeline does, in place of the
            scheduler's own.

    Raises:
        ValueError: Fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"a schedule needs at least one step, received {steps}")
    copy = type(scheduler).from_config(scheduler.config)
    levels = np.linspace(1.0, 1 / steps, steps) if even else None
    shift = _dynamic_shift(scheduler.config, tokens)
    copy.set_timesteps(steps, device=device, sigmas=levels, **shift)
    return Schedule(copy.sigmas)


def _dynamic_shift(config: Any, tokens: int) -> dict[str, float]:
    """Return diffusers' ``mu`` where the schedule depends on the image's size.

    ``mu`` runs linearly from ``base_shift`` to ``max_shift`` between the two lengths in the
    config; the order of operations is diffusers', so that not even the last bit differs.
    """
    if not config.use_dynamic_shifting:
        return {}
    span = config.max_image_seq_len - config.base_image_seq_len
    slope = (config.max_shift - config.base_shift) / span
    return {"mu": tokens * slope + (config.base_shift - slope * config.base_image_seq_len)}
