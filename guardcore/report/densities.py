"""How the ratios lie around 1 at each denoising step, from the quantiles in ``steps.jsonl``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guardcore.report.groups import Group
from guardcore.report.read import Row
from guardcore.report.steps import later_updates, mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

Quantiles = Sequence[Sequence[float]]
"""One row an update: quantiles of ratio − 1 at equal distances from 0 to 100 %."""
_OUTERMOST = 1.5
"""Percent of a step's ratios left out on each side of an axis: a few lie very far away."""


@dataclass(frozen=True)
class StepRatios:
    """The ratios of one denoising step, pooled over iterations, updates and seeds.

    Attributes:
        step: Its index.
        sigma: Its noise level.
        excess: Mean of ratio − 1.
        spread: Half the width of the middle 68 % of the ratios: the standard deviation of a
            normal distribution, whatever a few outliers do.
        quantiles: Of ratio − 1.
    """

    step: int
    sigma: float
    excess: float
    spread: float
    quantiles: Quantiles


def step_ratios(group: Group) -> tuple[StepRatios, ...]:
    """Return a group's ratios at each step, of updates from the second on."""
    by_step: dict[int, list[Row]] = {}
    for row in later_updates([row for run in group.runs for row in run.steps]):
        if _whole(row.get("ratio_quantiles")):
            by_step.setdefault(int(row["step"]), []).append(row)
    return tuple(_pooled(step, rows) for step, rows in sorted(by_step.items()))


def density(quantiles: Quantiles, edges: NDArray[Any]) -> NDArray[Any]:
    """Return the fraction of the ratios in each bin; between two quantiles they lie evenly."""
    import numpy as np

    levels = np.linspace(0, 1, len(quantiles[0]))
    below = [np.interp(edges, row, levels, left=0, right=1) for row in quantiles]
    return np.diff(np.mean(below, axis=0))


def bins(reach: float, number: int) -> NDArray[Any]:
    """Return the edges of equal bins from ``−reach`` to ``reach``."""
    import numpy as np

    return np.linspace(-reach, reach, number + 1)


def reach(steps: Sequence[StepRatios]) -> float:
    """Return how far from 0 an axis goes that shows the ratios of all ``steps``."""
    import numpy as np

    ends = [np.percentile(_inner(s.quantiles), (_OUTERMOST, 100 - _OUTERMOST)) for s in steps]
    return float(np.abs(ends).max())


def _pooled(step: int, rows: Sequence[Row]) -> StepRatios:
    import numpy as np

    quantiles = [[value - 1 for value in row["ratio_quantiles"]] for row in rows]
    low, high = np.percentile(_inner(quantiles), (16, 84))
    return StepRatios(
        step=step,
        sigma=mean([row["sigma"] for row in rows]),
        excess=mean([row["ratio_mean"] - 1 for row in rows]),
        spread=float(high - low) / 2,
        quantiles=quantiles,
    )


def _inner(quantiles: Quantiles) -> NDArray[Any]:
    """Return equally likely ratios − 1: the middles between neighbouring quantiles."""
    import numpy as np

    values = np.asarray(quantiles)
    middles: NDArray[Any] = (values[:, 1:] + values[:, :-1]) / 2
    return middles.ravel()


def _whole(quantiles: object) -> bool:
    """Whether these are quantiles: an older run has none, and JSON no word for infinity."""
    return isinstance(quantiles, list) and len(quantiles) > 1 and None not in quantiles
