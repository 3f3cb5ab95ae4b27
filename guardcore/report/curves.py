"""Curves over iterations: one a run, and for several seeds their mean with its spread."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from guardcore.change import mean_and_error
from guardcore.report.groups import Group
from guardcore.report.read import RecordedRun

_SMOOTHED_FROM = 20
"""Iterations from which a training curve is drawn as a moving average."""


@dataclass(frozen=True)
class Curve:
    """One line over iterations, with a band and with what it was made of.

    Attributes:
        label: Group or quantity.
        colour: Of line and band.
        x: Iterations.
        y: Values.
        spread: Half the band's height at each point; empty for none.
        traces: The single curves or raw points behind it, ``(x, y)`` each.
    """

    label: str
    colour: str
    x: tuple[int, ...]
    y: tuple[float, ...]
    spread: tuple[float, ...] = ()
    traces: tuple[tuple[tuple[int, ...], tuple[float, ...]], ...] = ()


def training_curves(groups: Sequence[Group], key: str) -> list[Curve]:
    """Return a metric's curve a group, smoothed where it is long; empty where nobody has it."""
    curves = [training_curve(group, key) for group in groups]
    return [curve for curve in curves if curve is not None]


def training_curve(group: Group, key: str) -> Curve | None:
    """Return one group's curve of a metric, over its seeds or over neighbouring iterations."""
    series = [found for run in group.runs if (found := run.series(key))]
    if not series:
        return None
    if len(series) > 1:
        return _over_seeds(group, series)
    x, y = tuple(series[0]), tuple(series[0].values())
    if len(x) < _SMOOTHED_FROM:
        return Curve(group.label, group.colour, x, y)
    windows = [_window(y, place) for place in range(len(y))]
    means, deviations = zip(*(_deviation(window) for window in windows), strict=True)
    return Curve(group.label, group.colour, x, means, deviations, ((x, y),))


def evaluation_curves(groups: Sequence[Group], key: str) -> list[Curve]:
    """Return a curve a group of what evaluations measure; its band is the seeds' s.d."""
    found = []
    for group in groups:
        series = [s for run in group.runs if (s := run.series(key))]
        if len(series) > 1:
            found.append(_over_seeds(group, series))
        elif series:
            found.append(Curve(group.label, group.colour, tuple(series[0]), (*series[0].values(),)))
    return found


def held_out_curves(groups: Sequence[Group], label: str) -> list[Curve]:
    """Return a held-out score's curve a group: ± s.e. over images, or s.d. over seeds."""
    found = []
    for group in groups:
        series = [s for run in group.runs if (s := run.series(f"eval/{label}"))]
        if len(series) > 1:
            found.append(_over_seeds(group, series))
        elif series:
            run = next(run for run in group.runs if run.series(f"eval/{label}"))
            errors = tuple(_error(run, label, iteration) for iteration in series[0])
            x, y = tuple(series[0]), tuple(series[0].values())
            found.append(Curve(group.label, group.colour, x, y, errors))
    return found


def _over_seeds(group: Group, series: Sequence[Mapping[int, float]]) -> Curve:
    """Return the mean and the standard deviation at the iterations that all seeds have."""
    shared = tuple(x for x in series[0] if all(x in other for other in series))
    columns = [_deviation([one[x] for one in series]) for x in shared]
    traces = tuple((tuple(one), tuple(one.values())) for one in series)
    y, spread = zip(*columns, strict=True) if columns else ((), ())
    return Curve(f"{group.label} ({len(series)} seeds)", group.colour, shared, y, spread, traces)


def _error(run: RecordedRun, label: str, iteration: int) -> float:
    scores = run.evaluations.get(iteration, {}).get("scores", {}).get(label, ())
    error = mean_and_error(scores)[1] if len(scores) > 1 else math.nan
    return error if math.isfinite(error) else 0.0


def _window(values: Sequence[float], place: int) -> Sequence[float]:
    """Return the neighbours of a place, a tenth of all on each side where there are so many."""
    reach = max(2, len(values) // 20)
    return values[max(0, place - reach) : place + reach + 1]


def _deviation(values: Sequence[float]) -> tuple[float, float]:
    mean, error = mean_and_error(values)
    return mean, error * math.sqrt(len(values)) if len(values) > 1 else 0.0
