"""Which denoising steps make the gradient: each step's share of its norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from guardcore.report.groups import Group
from guardcore.report.read import Row
from guardcore.report.steps import mean


@dataclass(frozen=True)
class StepShare:
    """One denoising step's share; those of all steps add up to 1."""

    step: int
    sigma: float
    share: float


@dataclass(frozen=True)
class ShareCurve:
    """A group's shares: of iterations' first updates, or of the later ones."""

    label: str
    colour: str
    first: bool
    points: tuple[StepShare, ...]

    @property
    def factor(self) -> float:
        """The largest share over the smallest; infinite where a step had no gradient."""
        shares = [point.share for point in self.points]
        return max(shares) / min(shares) if min(shares) > 0 else math.inf


def share_curves(group: Group) -> list[ShareCurve]:
    """Return a group's curves, its seeds pooled; none where no gradient was taken apart."""
    found = []
    for first in (True, False):
        rows = [[r for r in run.steps if (r["update"] == 1) == first] for run in group.runs]
        points = step_shares(rows)
        if points:
            found.append(ShareCurve(group.label, group.colour, first, points))
    return found


def step_shares(runs: Sequence[Sequence[Row]]) -> tuple[StepShare, ...]:
    """Return each step's share, averaged over those updates of the runs that were taken apart.

    An update's norms count in units of their mean, so that a large gradient weighs no more than a
    small one, and that updates of some of the steps count for those.
    """
    relative: dict[int, list[float]] = {}
    sigma: dict[int, float] = {}
    for update in (update for rows in runs for update in _updates(rows)):
        average = mean([row["grad_norm"] for row in update])
        for row in update if average > 0 else ():
            relative.setdefault(int(row["step"]), []).append(row["grad_norm"] / average)
            sigma[int(row["step"])] = float(row["sigma"])
    means = {step: mean(values) for step, values in sorted(relative.items())}
    total = sum(means.values())
    return tuple(StepShare(step, sigma[step], value / total) for step, value in means.items())


def _updates(rows: Sequence[Row]) -> list[list[Row]]:
    """Return one run's rows that have a gradient of their own, update by update."""
    found: dict[tuple[int, int], list[Row]] = {}
    for row in rows:
        if math.isfinite(row.get("grad_norm", math.nan)):
            found.setdefault((int(row["iteration"]), int(row["update"])), []).append(row)
    return list(found.values())
