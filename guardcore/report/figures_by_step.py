"""Figures over the denoising steps: ratio, clip, K, bias, gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from guardcore.report.axes import legend, log_scale, percent, scientific, shown, step_axis
from guardcore.report.canvas import canvas, panels
from guardcore.report.shares import ShareCurve
from guardcore.report.steps import StepCurve, StepFigures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PALE = 0.4


def ratio_by_step(curves: Sequence[StepCurve], bounds: tuple[float, float] | None) -> Figure:
    """Draw the mean of ratio − 1 with one standard deviation, and the clip's bounds."""
    figure, axes = canvas("", "ratio − 1")
    place = step_axis(axes, _points(curves))
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
    axes.yaxis.set_major_formatter(scientific)
    legend(axes, len(curves))
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
    place = step_axis(axes, _points(curves))
    largest = 0.05
    for curve in curves:
        x = [place(point) for point in curve.points]
        high = [point.clip_high for point in curve.points]
        low = [-point.clip_low for point in curve.points]
        style = _look(curve)
        axes.plot(x, high, marker="^", **style)
        axes.plot(x, low, marker="v", **{**style, "label": ""})
        for side in (high, low) if _single(curves) else ():
            axes.fill_between(x, 0, side, color=curve.colour, alpha=0.1, linewidth=0)
        largest = max([largest, *high, *(-value for value in low)])
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_ylim(-1.25 * largest, 1.25 * largest)
    percent(axes)
    legend(axes, len(curves))
    return figure


def clip_by_sign(curves: Sequence[StepCurve]) -> Figure:
    """Draw what lies outside the bounds, by the advantage's sign.

    Solid is the side on which the clip takes the gradient: above with a positive advantage, below
    with a negative one. Dotted is the other side, where the term keeps it.
    """
    figure, (positive, negative) = panels(2, 1, height=1.5)
    _sides(positive, curves, lambda p: (p.high_positive, -p.low_positive), stopped=0)
    _sides(negative, curves, lambda p: (p.high_negative, -p.low_negative), stopped=1)
    largest = _largest(curves)
    for axes, title in ((positive, "advantage > 0"), (negative, "advantage < 0")):
        axes.set_title(title)
        axes.set_ylabel("← below     above →")
        axes.set_ylim(-1.2 * largest, 1.2 * largest)
        percent(axes)
    positive.set_xlabel("")
    legend(positive, len(curves))
    for line, label in (("-", "stopped by the clip"), (":", "not stopped")):
        negative.plot([], [], color="black", linestyle=line, label=label)
    negative.legend(loc="best")
    return figure


def bias_by_step(curves: Sequence[StepCurve]) -> Figure:
    """Draw how far below 0 the raw log-ratio's mean lies, on what Eq. 6 predicts."""
    figure, axes = canvas("", "− mean of log r")
    place = step_axis(axes, _points(curves))
    for curve in curves:
        x = [place(point) for point in curve.points]
        style = _look(curve)
        measured = [-point.bias if point.bias < 0 else math.nan for point in curve.points]
        predicted = [-point.bias_predicted for point in curve.points]
        axes.plot(x, predicted, linestyle="--", linewidth=1.0, **{**style, "label": ""})
        axes.plot(x, measured, marker="o", linestyle="", **style)
    values = [value for p in _points(curves) for value in (-p.bias, -p.bias_predicted)]
    log_scale(axes, values)
    legend(axes, len(curves))
    return figure


def gradient_by_step(curves: Sequence[ShareCurve]) -> Figure:
    """Draw each step's share of the gradient; dashed is an iteration's first update."""
    figure, axes = canvas("", "share of the gradient")
    points = [point for curve in curves for point in curve.points]
    place = step_axis(axes, points)
    single = len({curve.colour for curve in curves}) == 1
    named: set[str] = set()
    for curve in sorted(curves, key=lambda curve: curve.first):
        label = ("first updates" if curve.first else "later updates") if single else curve.label
        axes.plot(
            [place(point) for point in curve.points],
            [point.share for point in curve.points],
            color=curve.colour,
            alpha=0.6 if curve.first else 1.0,
            linestyle="--" if curve.first else "-",
            marker="o",
            label="" if label in named else shown(label),
        )
        named.add(label)
    even = 1 / len({point.step for point in points})
    axes.axhline(even, color="black", linestyle=":", linewidth=0.8)
    log_scale(axes, [point.share for point in points])
    _percent_ticks(axes)
    legend(axes, len(curves))
    return figure


def _percent_ticks(axes: Axes) -> None:
    """Write 2, 5 and 10 of a log axis in percent."""
    from matplotlib.ticker import LogLocator

    def word(value: float, place: float) -> str:
        return f"{100 * value:.2g}%" if value < 1 else f"{value:.0%}"

    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    for written in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        written(word)


def _positive(
    curves: Sequence[StepCurve], y_label: str, value: Callable[[StepFigures], float]
) -> Figure:
    figure, axes = canvas("", y_label)
    place = step_axis(axes, _points(curves))
    for curve in curves:
        x = [place(point) for point in curve.points]
        axes.plot(x, [value(point) for point in curve.points], marker="o", **_look(curve))
    log_scale(axes, [value(point) for curve in curves for point in curve.points])
    legend(axes, len(curves))
    return figure


def _sides(
    axes: Axes,
    curves: Sequence[StepCurve],
    sides: Callable[[StepFigures], tuple[float, float]],
    *,
    stopped: int,
) -> None:
    """Draw both sides of each curve; only ``stopped`` of the two is solid and filled."""
    place = step_axis(axes, _points(curves))
    for curve in curves:
        x = [place(point) for point in curve.points]
        for number, marker in enumerate("^v"):
            y = [sides(point)[number] for point in curve.points]
            solid = number == stopped
            style = _look(curve) | {"linestyle": "-" if solid else ":"}
            style["label"] = style["label"] if solid and stopped == 0 else ""
            axes.plot(x, y, marker=marker, markersize=4 if solid else 2.5, **style)
            if solid and _single(curves):
                axes.fill_between(x, 0, y, color=curve.colour, alpha=0.15, linewidth=0)
    axes.axhline(0, color="black", linewidth=0.8)


def _largest(curves: Sequence[StepCurve]) -> float:
    """Return the largest fraction of either sign, 5 % at least."""
    fractions = [
        value
        for p in _points(curves)
        for value in (p.high_positive, p.high_negative, p.low_positive, p.low_negative)
    ]
    return max([0.05, *filter(math.isfinite, fractions)])


def _points(curves: Sequence[StepCurve]) -> list[StepFigures]:
    return [point for curve in curves for point in curve.points]


def _look(curve: StepCurve) -> dict[str, Any]:
    alpha = _PALE if curve.pale else 1.0
    return {"color": curve.colour, "alpha": alpha, "label": shown(curve.label)}


def _single(curves: Sequence[StepCurve]) -> bool:
    """Whether all curves are of one group: only then can areas be told apart."""
    return len({curve.colour for curve in curves}) == 1
