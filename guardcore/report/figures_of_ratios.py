"""Histograms of the ratio, a row a denoising step: the paper's figure, for this run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from guardcore.report.axes import scientific, sigma_word
from guardcore.report.canvas import panels
from guardcore.report.densities import StepRatios, bins, density, reach

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_MOST_ROWS = 10
_OWN_REACH = 3.5
"""Spreads shown on each side, where a step has its own scale."""
_FINE, _COARSE = 151, 61
"""Bins of the common scale, where some rows are needles, and of a row's own. Odd: one is at 1."""
_TALL = 0.86
"""Height of a row's peak; the next row begins at 1."""


def ratio_histograms(
    steps: Sequence[StepRatios], bounds: tuple[float, float] | None, colour: str
) -> Figure:
    """Draw how the ratios lie at each step: on one scale for all, and each on its own.

    Dashed are the clip's bounds, the line is ratio 1, and a triangle marks the mean. Each row has
    its own height.
    """
    shown = steps[:: -(-len(steps) // _MOST_ROWS)]
    figure, (joint, own) = panels(1, 2, height=0.55 + 0.15 * len(shown))
    shared = reach(steps)
    for row, step in enumerate(shown):
        _ridge(joint, -row, step, 1.0, bins(shared, _FINE), colour)
        if step.spread > 0:
            _ridge(own, -row, step, step.spread, bins(_OWN_REACH, _COARSE), colour)
            for bound in bounds or ():
                _bound(own, -row, bound / step.spread, _OWN_REACH)
        for bound in bounds or ():
            _bound(joint, -row, bound, shared)
    names = [f"{step.step}  ({sigma_word(step.sigma)})" for step in shown]
    joint.set_yticks([-row for row in range(len(shown))], names)
    joint.set_ylabel("denoising step (sigma)")
    joint.set_title("one scale for all")
    joint.set_xlabel("ratio − 1")
    joint.xaxis.set_major_formatter(scientific)
    joint.locator_params(axis="x", nbins=4)
    own.set_title("each on its own scale")
    own.set_xlabel("(ratio − 1) / its spread")
    for axes, limit in ((joint, shared), (own, _OWN_REACH)):
        axes.set_xlim(-limit, limit)
        axes.axvline(0, color="black", linewidth=0.8, zorder=0)
        axes.grid(visible=False)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    return figure


def _ridge(
    axes: Axes, bottom: float, step: StepRatios, unit: float, edges: NDArray[Any], colour: str
) -> None:
    """Draw one step's histogram on a base line, ratios and bins in units of ``unit``."""
    heights = density(step.quantiles, edges * unit)
    tops = bottom + _TALL * heights / max(heights.max(), 1e-300)
    axes.stairs(tops, edges, baseline=bottom, fill=True, color=colour, alpha=0.35, linewidth=0)
    axes.stairs(tops, edges, baseline=None, color=colour, linewidth=1.0)
    axes.axhline(bottom, color="#999999", linewidth=0.6)
    mean = step.excess / unit
    if abs(mean) <= edges[-1]:
        axes.plot(mean, bottom, marker="^", color="black", markersize=4, clip_on=False, zorder=3)


def _bound(axes: Axes, bottom: float, place: float, limit: float) -> None:
    if abs(place) <= limit:
        axes.vlines(place, bottom, bottom + _TALL, "black", "--", linewidth=0.8)
