"""Before an iteration's first update nothing has changed, so every ratio must be 1."""

from __future__ import annotations

import torch

from guardcore.errors import PreflightError
from guardcore.figures import Terms

FULL_PRECISION = 1e-6
"""Largest \\|log r\\| in float32 and float64."""


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
        "batch shape, autocast or attention kernel between the two, or use dtype float32"
        if half
        else "the velocity is not a function of (x, sigma, condition) alone: look for dropout, "
        "a module in training mode, or a backbone that keeps state between calls"
    )
    raise PreflightError(
        f"before the first update the log-ratio reaches {largest:.1e} where at most "
        f"{tolerance:.1e} is rounding: {cause}"
    )


def _narrowest(terms: Terms) -> float:
    widths = torch.cat([1 - terms.low, terms.high - 1])
    bounded = widths[(widths > 0) & (widths < 1)]
    return float(bounded.min()) if len(bounded) else 10 * FULL_PRECISION
