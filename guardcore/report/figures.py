"""The figures of a report: each takes data and returns a ``Figure``; nothing is read or written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guardcore.report.canvas import canvas
from guardcore.report.curves import Curve
from guardcore.report.steps import StepCurve, StepFigures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PALE = 0.4
_TRACE = 0.3


def over_iterations(
    curves: Sequence[Curve],
    y_label: str,
    *,
    markers: bool = False,
    percent: bool = False,
    log: bool = False,
    limit: float | None = None,
) -> Figure:
    """Draw curves over iterations with their bands; ``limit`` is a dashed line."""
    figure, axes = canvas("iteration", y_label)
    for curve in curves:
        for x, y in curve.traces:
            axes.plot(x, y, color=curve.colour, alpha=_TRACE, linewidth=0.8)
        dots = "o" if markers or len(curve.x) == 1 else ""
        axes.plot(curve.x, curve.y, color=curve.colour, label=_shown(curve.label), marker=dots)
        if curve.spread:
            low, high = zip(*((y - s, y + s) for y, s in _pairs(curve)), strict=True)
            shade = 0.18 if len(curves) == 1 else 0.12
            axes.fill_between(curve.x, low, high, color=curve.colour, alpha=shade, linewidth=0)
    if limit is not None:
        axes.axhline(limit, color="black", linestyle="--", linewidth=0.8)
    if log:
        traces = [value for curve in curves for _, y in curve.traces for value in y]
        _log_scale(axes, [*traces, *(y for curve in curves for y in curve.y), limit or 0.0])
    if percent:
        _percent(axes)
        axes.set_ylim(bottom=0)
    _whole_numbers(axes)
    _legend(axes, len(curves))
    return figure


def ratio_by_step(curves: Sequence[StepCurve], bounds: tuple[float, float] | None) -> Figure:
    """Draw the mean of ratio − 1 with one standard deviation, and the clip's bounds."""
    figure, axes = canvas("", "ratio − 1")
    place = _step_axis(axes, curves)
    for curve in curves:
        x = [place(point) for point in curve.points]
        y = [point.excess for point in curve.points]
        low = [point.excess - point.spread for point in curve.points]
        high = [point.excess + point.spread for point in curve.points]
        axes.plot(x, y, marker="o", **_look(curve))
        shade = 0.08 if curve.pale else 0.18
        axes.fill_between(x, low, high, color=curve.colour, alpha=shade, linewidth=0)
    axes.axhline(0, color="black", linewidth=0.8)
    for bound in bounds or ():
        axes.axhline(bound, color="black", linestyle="--", linewidth=0.8)
    axes.yaxis.set_major_formatter(_scientific)
    _legend(axes, len(curves))
    return figure


def spread_by_step(curves: Sequence[StepCurve]) -> Figure:
    """Draw the ratio's standard deviation on a log axis."""
    return _positive(curves, "std of the ratio", lambda point: point.spread)


def k_by_step(curves: Sequence[StepCurve]) -> Figure:
    """Draw K on a log axis."""
    return _positive(curves, "K = ‖d‖² / (2·std²)", lambda point: point.k)


def clip_by_step(curves: Sequence[StepCurve]) -> Figure:
    """Draw the fraction above the upper bound upwards, the one below the lower downwards."""
    figure, axes = canvas("", "← below          above →")
    place = _step_axis(axes, curves)
    largest = 0.05
    for curve in curves:
        x = [place(point) for point in curve.points]
        high = [point.clip_high for point in curve.points]
        low = [-point.clip_low for point in curve.points]
        look = _look(curve)
        axes.plot(x, high, marker="^", **look)
        axes.plot(x, low, marker="v", **{**look, "label": ""})
        for side in (high, low) if _single(curves) else ():
            axes.fill_between(x, 0, side, color=curve.colour, alpha=0.1, linewidth=0)
        largest = max([largest, *high, *(-value for value in low)])
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_ylim(-1.25 * largest, 1.25 * largest)
    _percent(axes)
    _legend(axes, len(curves))
    return figure


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
        axes.barh(y, widths, thick, color=colours[number], label=_shown(label))
    axes.set_yticks(range(len(order)), order)
    axes.grid(visible=False, axis="y")
    _legend(axes, len(rows))
    return figure


def _positive(
    curves: Sequence[StepCurve], y_label: str, value: Callable[[StepFigures], float]
) -> Figure:
    figure, axes = canvas("", y_label)
    place = _step_axis(axes, curves)
    for curve in curves:
        x = [place(point) for point in curve.points]
        axes.plot(x, [value(point) for point in curve.points], marker="o", **_look(curve))
    _log_scale(axes, [value(point) for curve in curves for point in curve.points])
    _legend(axes, len(curves))
    return figure


def _step_axis(axes: Axes, curves: Sequence[StepCurve]) -> Callable[[StepFigures], float]:
    """Label the x axis; return where a step lies on it.

    By index, with sigma below it, where all curves have one schedule; by falling sigma elsewhere.
    """
    sigmas: dict[int, set[float]] = {}
    for curve in curves:
        for point in curve.points:
            sigmas.setdefault(point.step, set()).add(round(point.sigma, 4))
    if any(len(found) > 1 for found in sigmas.values()):
        axes.set_xlabel("sigma (denoising goes to the right)")
        axes.invert_xaxis()
        return lambda point: point.sigma
    steps = sorted(sigmas)
    ticks = steps[:: -(-len(steps) // 10)]
    names = [f"{step}\n{min(sigmas[step]):.2f}".replace("0.", ".") for step in ticks]
    axes.set_xlabel("denoising step, and its sigma")
    axes.set_xticks(ticks, names)
    return lambda point: point.step


def _look(curve: StepCurve) -> dict[str, Any]:
    alpha = _PALE if curve.pale else 1.0
    return {"color": curve.colour, "alpha": alpha, "label": _shown(curve.label)}


def _single(curves: Sequence[StepCurve]) -> bool:
    """Whether all curves are of one group: only then can areas be told apart."""
    return len({curve.colour for curve in curves}) == 1


def _pairs(curve: Curve) -> list[tuple[float, float]]:
    return list(zip(curve.y, curve.spread, strict=True))


def _shown(label: str) -> str:
    """Return a label that matplotlib shows: it keeps those with a leading underscore for itself."""
    text = label.lstrip("_") or "run"
    return text if len(text) <= 40 else f"{text[:39]}…"


def _legend(axes: Axes, number: int) -> None:
    if number > 1:
        axes.legend(loc="best")


def _log_scale(axes: Axes, values: Sequence[float]) -> None:
    """Make the y axis logarithmic and a decade high at least, where there is anything to show."""
    from matplotlib.ticker import LogLocator

    positive = [value for value in values if value > 0]
    if not positive:
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(_scientific)
    low, high = min(positive), max(positive)
    if high < 10 * low:  # two powers of ten are not sure to be in sight
        centre = math.sqrt(low * high)
        axes.set_ylim(centre / 10**0.5, centre * 10**0.5)
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.yaxis.set_minor_formatter(_scientific)
    else:
        axes.yaxis.set_minor_formatter(lambda value, place: "")


def _percent(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(lambda value, place: f"{abs(value):.0%}")


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))


def _scientific(value: float, place: float = 0) -> str:
    """Write 0.02 as 2e-2 and 3 as 3."""
    if value == 0 or 0.1 <= abs(value) < 1000:
        return f"{value:g}".replace("-", "−")
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}".replace("-", "−")
