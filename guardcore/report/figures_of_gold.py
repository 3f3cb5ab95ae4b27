"""Figures of the trained score against the scores that only judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from guardcore.report.axes import legend, shown, whole_numbers
from guardcore.report.canvas import canvas, panels
from guardcore.report.curves import Curve
from guardcore.report.figures import draw_curves
from guardcore.report.gold import Way

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_BASE = 1.0
"""The base model's gold score, by definition."""


def proxy_against_gold(ways: Sequence[Way]) -> Figure:
    """Draw a way a group from the base model on, a dot an evaluation; crosses are alarms."""
    figure, axes = canvas("proxy", "gold")
    for way in ways:
        axes.plot(way.proxy, way.gold, marker="o", color=way.colour, label=shown(way.label))
        axes.annotate(
            f"{way.iterations[-1]}",
            (way.proxy[-1], way.gold[-1]),
            (4, 4),
            textcoords="offset points",
            color=way.colour,
        )
        if way.iterations[0] == 0:
            axes.plot(way.proxy[0], way.gold[0], "o", color="white", mec=way.colour, zorder=3)
    axes.axhline(_BASE, color="black", linestyle=":", linewidth=0.8)
    axes.margins(0.1)
    axes.locator_params(axis="x", nbins=6)
    crosses = _alarms(axes, [place for way in ways for place in _alarmed(way, way.proxy)])
    legend(axes, len(ways) + len(crosses))
    return figure


def proxy_and_gold(proxy: Sequence[Curve], gold: Sequence[Curve], ways: Sequence[Way]) -> Figure:
    """Draw both over the iterations, one above the other; crosses are alarms."""
    figure, (upper, lower) = panels(2, 1, height=1.5)
    draw_curves(upper, proxy, markers=True)
    draw_curves(lower, gold, markers=True)
    upper.set_ylabel("proxy")
    lower.set_ylabel("gold")
    lower.set_xlabel("iteration")
    lower.axhline(_BASE, color="black", linestyle=":", linewidth=0.8)
    crosses = _alarms(lower, [place for way in ways for place in _alarmed(way, way.iterations)])
    whole_numbers(lower)
    legend(upper, len(proxy))
    if crosses:
        lower.legend(handles=crosses, loc="best")
    return figure


def _alarmed(way: Way, x: Sequence[float]) -> list[tuple[float, float]]:
    """Return where the alarms lie, ``x`` being what the figure has across."""
    places = zip(way.iterations, x, way.gold, strict=True)
    return [(across, up) for iteration, across, up in places if iteration in way.alarmed]


def _alarms(axes: Axes, places: Sequence[tuple[float, float]]) -> list[Line2D]:
    """Draw a cross at each place; return what a legend needs of them."""
    if not places:
        return []
    x, y = zip(*places, strict=True)
    return axes.plot(x, y, "X", color="black", mec="white", markersize=9, zorder=4, label="alarm")
