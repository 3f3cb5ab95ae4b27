"""Figures over iterations and of time.

As in its sisters, each function takes data and returns a ``Figure``; nothing is read or written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from guardcore.report.axes import legend, log_scale, percent, shown, whole_numbers
from guardcore.report.canvas import canvas
from guardcore.report.curves import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TRACE = 0.3


def over_iterations(
    curves: Sequence[Curve],
    y_label: str,
    *,
    markers: bool = False,
    fractions: bool = False,
    log: bool = False,
    limit: float | None = None,
) -> Figure:
    """Draw curves over iterations with their bands; ``limit`` is a dashed line."""
    figure, axes = canvas("iteration", y_label)
    draw_curves(axes, curves, markers=markers)
    if limit is not None:
        axes.axhline(limit, color="black", linestyle="--", linewidth=0.8)
    if log:
        traces = [value for curve in curves for _, y in curve.traces for value in y]
        log_scale(axes, [*traces, *(y for curve in curves for y in curve.y), limit or 0.0])
    if fractions:
        percent(axes)
        axes.set_ylim(bottom=0)
    whole_numbers(axes)
    legend(axes, len(curves))
    return figure


def draw_curves(axes: Axes, curves: Sequence[Curve], *, markers: bool) -> None:
    """Draw curves with their bands, and thin what they were made of."""
    for curve in curves:
        for x, y in curve.traces:
            axes.plot(x, y, color=curve.colour, alpha=_TRACE, linewidth=0.8)
        dots = "o" if markers or len(curve.x) == 1 else ""
        axes.plot(curve.x, curve.y, color=curve.colour, label=shown(curve.label), marker=dots)
        if curve.spread:
            low, high = zip(*((y - s, y + s) for y, s in _pairs(curve)), strict=True)
            shade = 0.18 if len(curves) == 1 else 0.12
            axes.fill_between(curve.x, low, high, color=curve.colour, alpha=shade, linewidth=0)


def seconds_by_phase(rows: Mapping[str, Mapping[str, float]], colours: Sequence[str]) -> Figure:
    """Draw a bar a phase and group; ``rows`` are the seconds by group and phase."""
    from guardcore.report.words import time_unit

    totals: dict[str, float] = {}
    for phases in rows.values():
        for phase, seconds in phases.items():
            totals[phase] = max(totals.get(phase, 0.0), seconds)
    order = sorted(totals, key=lambda phase: totals[phase])
    unit, name = time_unit(max(totals.values()))
    figure, axes = canvas(name, "", height=max(1.0, 0.45 + 0.045 * len(order) * len(rows)))
    thick = 0.8 / len(rows)
    for number, (label, phases) in enumerate(rows.items()):
        y = [place + 0.4 - thick * (number + 0.5) for place in range(len(order))]
        widths = [phases.get(phase, 0.0) / unit for phase in order]
        axes.barh(y, widths, thick, color=colours[number], label=shown(label))
    axes.set_yticks(range(len(order)), order)
    axes.grid(visible=False, axis="y")
    legend(axes, len(rows))
    return figure


def _pairs(curve: Curve) -> list[tuple[float, float]]:
    return list(zip(curve.y, curve.spread, strict=True))
