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
    """

    step: int
    sigma: float
    excess: float
    spread: float
    k: float
    clip_high: float
    clip_low: float


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
    )


def mean(values: Sequence[float]) -> float:
    """Return the mean of the finite values; NaN where there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
