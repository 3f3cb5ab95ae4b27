"""What is checked before it costs anything.

Before a run directory exists: that the model can draw the size, that every trained step has a
density, that guidance can change. Before each iteration's first update: that every ratio is 1.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any

import torch

from guardcore.config import RunConfig
from guardcore.errors import GuardcoreError, PreflightError
from guardcore.figures import Terms
from guardcore.plan import micro_batches
from guardcore.ranks import Ranks
from guardcore.run import Run
from guardcore.schedule import Schedule

_log = logging.getLogger("guardcore")

FULL_PRECISION = 1e-6
"""Largest \\|log r\\| in float32 and float64."""


def check_processes(config: RunConfig, tree: Mapping[str, Any], ranks: Ranks) -> None:
    """Check what several processes have to have in common, and what only one can do.

    Raises:
        GuardcoreError: With the config path.
    """
    digest = hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).digest()
    ranks.check_same("config", list(digest[:16]))
    with ranks.told_by_main("start"):
        if ranks.world > 1 and config.record.iterations:
            raise GuardcoreError(
                f"record.iterations: only a single process can record, and these are {ranks.world}"
            )
    batches = micro_batches(
        config.rollout.groups * config.rollout.group_size, config.rollout.batch_size
    )
    if len(batches) < ranks.world:
        _log.warning(
            "%d micro-batches for %d processes: some have nothing to do; lower rollout.batch_size",
            len(batches),
            ranks.world,
        )


def check_run(run: Run) -> None:
    """Check what only built components can tell.

    Raises:
        GuardcoreError: With the config path.
    """
    rollout, evaluation = run.config.rollout, run.config.evaluate
    size = rollout.height, rollout.width
    try:
        run.backbone.latent_shape(*size)
        schedule = run.backbone.schedule(rollout.num_inference_steps, *size)
    except ValueError as error:
        raise GuardcoreError(f"rollout: {error}") from error
    if evaluation.guidance_scale is not None and not hasattr(run.backbone, "guidance"):
        raise GuardcoreError(
            "evaluate.guidance_scale: this backbone has no guidance(); leave the key out"
        )
    run.steps.at(run.config.seed, 1)
    run.calibrator.check(run.config.train.iterations, run.config.train.updates_per_iteration)
    _check_density(run, schedule)


def _check_density(run: Run, schedule: Schedule) -> None:
    point = torch.zeros(1, 1, device=schedule.sigmas.device)
    for index in run.steps.reach:
        transition = run.objective.sampler.transition(point, point, schedule.step(index, 1))
        if not float(transition.std) > 0:
            raise GuardcoreError(
                f"sampler: {run.config.sampler.use!r} is deterministic at step {index}: there is "
                "no log-probability to train on; it can be evaluate.sampler"
            )


def check_ratios_are_one(terms: Terms, dtype: torch.dtype) -> None:
    """Compare the first update's log-ratios, before any transform, with 0.

    In half precision the tolerance is a tenth of the narrowest clip bound: an error as wide as
    the bound would itself be clipped.

    Args:
        terms: All terms of the first update.
        dtype: The precision of the backbone's velocity.

    Raises:
        PreflightError: With the likely cause.
    """
    largest = float(terms.raw.abs().max())
    half = dtype.itemsize < 4
    tolerance = _narrowest(terms) / 10 if half else FULL_PRECISION
    if largest <= tolerance:
        return
    cause = (
        "the rollout's and the update's velocities differ in half precision: look for another "
        "batch shape (train.steps_per_forward above 1 is one), autocast or attention kernel "
        "between the two, or use dtype float32"
        if half
        else "the velocity is not a function of (x, sigma, condition) alone: look for dropout, "
        "a module in training mode, a backbone that keeps state between calls, or one that "
        "computes in float16 and got another batch shape (train.steps_per_forward above 1 is one)"
    )
    raise PreflightError(
        f"before the first update the log-ratio reaches {largest:.1e} where at most "
        f"{tolerance:.1e} is rounding: {cause}"
    )


def _narrowest(terms: Terms) -> float:
    widths = torch.cat([1 - terms.low, terms.high - 1])
    bounded = widths[(widths > 0) & (widths < 1)]
    return float(bounded.min()) if len(bounded) else 10 * FULL_PRECISION
