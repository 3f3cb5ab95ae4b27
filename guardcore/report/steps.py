"""What the ratio and the clip did at each denoising step, over many iterations.

Only updates from the second on count: in the first of an iteration the weights are those that
sampled, so every ratio is 1 by construction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from guardcore.report.groups import Group
from guardcore.report.read import Row


@dataclass(frozen=True)
class StepFigures:
    """Means over iterations and updates at one denoising step.

    Attributes:
        step: Its index.
        sigma: Its noise level.
        excess: Mean of ratio − 1.
        spread: Root mean square of the standard deviation of the ratio.
        k: ``‖d‖²/(2·std²)`` summed over the latent dimensions.
        clip_high: Fraction of ratios above the upper bound.
        clip_low: Fraction below the lower one.
        high_positive: Of the terms with a positive advantage, the fraction above; NaN, as all that
            follow, where the run did not record it.
        high_negative: Of those with a negative one, the fraction above.
        low_positive: Of those with a positive one, the fraction below.
        low_negative: Of those with a negative one, the fraction below.
        bias: Mean of the log-ratio before any transform.
        bias_predicted: What Eq. 6 says it should be: ``−reduce(d²)/(2·std²)``.
    """

    step: int
    sigma: float
    excess: float
    spread: float
    k: float
    clip_high: float
    clip_low: float
    high_positive: float = math.nan
    high_negative: float = math.nan
    low_positive: float = math.nan
    low_negative: float = math.nan
    bias: float = math.nan
    bias_predicted: float = math.nan


_RECORDED_SINCE = {
    "high_positive": "clip_high_positive",
    "high_negative": "clip_high_negative",
    "low_positive": "clip_low_positive",
    "low_negative": "clip_low_negative",
    "bias": "log_ratio_raw_mean",
    "bias_predicted": "log_ratio_raw_predicted",
}
"""Fields and their keys in ``steps.jsonl``, which older runs do not have."""


@dataclass(frozen=True)
class StepCurve:
    """One line of a figure over the denoising steps."""

    label: str
    colour: str
    pale: bool
    points: tuple[StepFigures, ...]


def later_updates(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of ``steps.jsonl`` from the second update of an iteration on."""
    return [row for row in rows if row["update"] >= 2]


def step_figures(rows: Sequence[Row]) -> tuple[StepFigures, ...]:
    """Return the figures of each denoising step, averaged over ``rows``."""
    by_step: dict[int, list[Row]] = {}
    for row in rows:
        by_step.setdefault(int(row["step"]), []).append(row)
    return tuple(_average(step, found) for step, found in sorted(by_step.items()))


def step_curves(group: Group, *, thirds: bool) -> list[StepCurve]:
    """Return a group's curve, its seeds pooled; empty where no iteration had a second update.

    With ``thirds`` two curves, of the first and the last third of the iterations, where there are
    three at least.
    """
    rows = later_updates([row for run in group.runs for row in run.steps])
    if not rows:
        return []
    iterations = sorted({int(row["iteration"]) for row in rows})
    size = len(iterations) // 3
    if not thirds or size == 0:
        return [StepCurve(group.label, group.colour, False, step_figures(rows))]
    first, last = iterations[:size], iterations[-size:]
    return [_part(rows, first, group.colour, True), _part(rows, last, group.colour, False)]


def recorded(curves: Sequence[StepCurve], field: str) -> list[StepCurve]:
    """Return the curves that have a field anywhere."""
    return [c for c in curves if any(math.isfinite(getattr(p, field)) for p in c.points)]


def _part(rows: Sequence[Row], iterations: Sequence[int], colour: str, pale: bool) -> StepCurve:
    first, last = iterations[0], iterations[-1]
    label = f"iterations {first}–{last}" if first < last else f"iteration {first}"
    inside = [row for row in rows if first <= row["iteration"] <= last]
    return StepCurve(label, colour, pale, step_figures(inside))


def _average(step: int, rows: Sequence[Row]) -> StepFigures:
    return StepFigures(
        step=step,
        sigma=mean([row["sigma"] for row in rows]),
        excess=mean([row["ratio_mean"] - 1 for row in rows]),
        spread=math.sqrt(mean([row["ratio_std"] ** 2 for row in rows])),
        k=mean([row["k"] for row in rows]),
        clip_high=mean([row["clip_high"] for row in rows]),
        clip_low=mean([row["clip_low"] for row in rows]),
        **{
            field: mean([row.get(key, math.nan) for row in rows])
            for field, key in _RECORDED_SINCE.items()
        },
    )


def mean(values: Sequence[float]) -> float:
    """Return the mean of the finite values; NaN where there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
