"""A number over seeds in words: mean ± standard deviation, each kind in its own unit."""

from __future__ import annotations

import math
from collections.abc import Callable

from guardcore.report.words import duration, number

Form = Callable[[float, float], str]
"""From a mean and its spread, NaN for none, to words."""


def score(mean: float, spread: float) -> str:
    """Write a score: ``0.612 ± 0.013``."""
    return _joined(number(mean), number(spread, mean), spread)


def change(mean: float, spread: float) -> str:
    """Write a difference with its sign, of scores near 1."""
    return _joined(number(mean, 1, "+"), number(spread, 1), spread)


def small(mean: float, spread: float) -> str:
    """Write a number of any size: ``−1.2e-3 ± 2e-4``."""
    return _joined(_power(mean, 1), _power(spread, 0), spread)


def percent(mean: float, spread: float) -> str:
    """Write a fraction in percent."""
    return f"{_joined(f'{100 * mean:.1f}', f'{100 * spread:.1f}', spread)} %"


def times(mean: float, spread: float) -> str:
    """Write a factor: ``×61 ± 4``."""
    decimals = 1 if mean < 10 else 0
    return _joined(f"×{mean:.{decimals}f}", f"{spread:.{decimals}f}", spread)


def nats(mean: float, spread: float) -> str:
    """Write a divergence with three digits of its mean."""
    digits = math.floor(math.log10(abs(mean))) if mean and math.isfinite(mean) else 0
    decimals = max(0, 2 - digits)
    return _joined(f"{mean:.{decimals}f}", f"{spread:.{decimals}f}", spread)


def iteration(mean: float, spread: float) -> str:
    """Write an iteration, which may lie between two."""
    return _joined(f"{mean:.1f}", f"{spread:.1f}", spread)


def time(mean: float, spread: float) -> str:
    """Write a duration, without its spread: that says more about the machine."""
    return duration(mean)


def _joined(mean: str, spread: str, value: float) -> str:
    return f"{mean} ± {spread}" if math.isfinite(value) else mean


def _power(value: float, decimals: int) -> str:
    if not math.isfinite(value):
        return ""
    mantissa, _, exponent = f"{value:.{decimals}e}".partition("e")
    return f"{mantissa}e{int(exponent)}".replace("-", "−")
