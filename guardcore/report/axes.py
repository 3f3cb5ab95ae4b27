"""Scales, ticks and legends that the figures share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Place(Protocol):
    """Anything at a denoising step."""

    @property
    def step(self) -> int:
        """Its index."""

    @property
    def sigma(self) -> float:
        """Its noise level."""


def step_axis(axes: Axes, points: Iterable[Place]) -> Callable[[Place], float]:
    """Label the x axis; return where a step lies on it.

    By index, with sigma below it, where all points have one schedule; by falling sigma elsewhere.
    """
    sigmas: dict[int, set[float]] = {}
    for point in points:
        sigmas.setdefault(point.step, set()).add(round(point.sigma, 4))
    if any(len(found) > 1 for found in sigmas.values()):
        axes.set_xlabel("sigma (denoising goes to the right)")
        axes.invert_xaxis()
        return lambda point: point.sigma
    steps = sorted(sigmas)
    ticks = steps[:: -(-len(steps) // 10)]
    names = [f"{step}\n{sigma_word(min(sigmas[step]))}" for step in ticks]
    axes.set_xlabel("denoising step, and its sigma")
    axes.set_xticks(ticks, names)
    return lambda point: point.step


def sigma_word(sigma: float) -> str:
    """Write 0.57 as .57."""
    return f"{sigma:.2f}".replace("0.", ".")


def shown(label: str) -> str:
    """Return a label that matplotlib shows: it keeps those with a leading underscore for itself."""
    text = label.lstrip("_") or "run"
    return text if len(text) <= 40 else f"{text[:39]}…"


def legend(axes: Axes, number: int) -> None:
    """Add a legend where there is more than one thing to tell apart."""
    if number > 1:
        axes.legend(loc="best")


def log_scale(axes: Axes, values: Sequence[float]) -> None:
    """Make the y axis logarithmic and a decade high at least, where there is anything to show."""
    from matplotlib.ticker import LogLocator

    positive = [value for value in values if value > 0]
    if not positive:
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(scientific)
    low, high = min(positive), max(positive)
    if high < 10 * low:  # two powers of ten are not sure to be in sight
        centre = math.sqrt(low * high)
        axes.set_ylim(centre / 10**0.5, centre * 10**0.5)
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.yaxis.set_minor_formatter(scientific)
    else:
        axes.yaxis.set_minor_formatter(lambda value, place: "")


def percent(axes: Axes) -> None:
    """Write the y axis in percent, without signs: below 0 lie fractions, too."""
    axes.yaxis.set_major_formatter(lambda value, place: f"{abs(value):.0%}")


def whole_numbers(axes: Axes) -> None:
    """Tick the x axis at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))


def scientific(value: float, place: float = 0) -> str:
    """Write 0.02 as 2e-2 and 3 as 3."""
    if value == 0 or 0.1 <= abs(value) < 1000:
        return f"{value:g}".replace("-", "−")
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}".replace("-", "−")
