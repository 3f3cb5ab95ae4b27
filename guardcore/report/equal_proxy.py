"""Held to the same proxy: what gold was worth when a run first reached a score that all reached.

Comparing gold at the end favours whoever learnt least. So, seed by seed, every run is looked at
where its held-out proxy first crosses P*, the highest score that all of them reached.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from guardcore.report.groups import Group
from guardcore.report.read import RecordedRun


@dataclass(frozen=True)
class Crossing:
    """Where a run first reached a proxy score.

    Attributes:
        iteration: Between two evaluations by linear interpolation.
        gold: Likewise; NaN where gold was not measured.
    """

    iteration: float
    gold: float


@dataclass(frozen=True)
class Level:
    """One seed's P*.

    Attributes:
        seed: The seed.
        proxy: P*, the smallest over the runs of the largest held-out proxy reached.
        holder: The label of the group whose largest it is.
        iteration: Where the holder reached it; 0 where it never rose above the base model.
    """

    seed: int
    proxy: float
    holder: str
    iteration: int


def crossing(
    proxy: Mapping[int, float], gold: Mapping[int, float], level: float
) -> Crossing | None:
    """Return where ``proxy`` first reaches ``level``; None where it doesn't.

    Args:
        proxy: By iteration, rising.
        gold: By iteration; may be empty.
        level: The score to reach.
    """
    both = [(i, p, gold.get(i, math.nan)) for i, p in sorted(proxy.items())]
    for number, (iteration, score, worth) in enumerate(both):
        if score < level:
            continue
        if number == 0:
            return Crossing(iteration, worth)
        before, low, had = both[number - 1]
        part = (level - low) / (score - low)
        return Crossing(before + part * (iteration - before), had + part * (worth - had))
    return None


def levels(groups: Sequence[Group]) -> dict[int, Level]:
    """Return each seed's P* over the finished runs, or over all where none is finished.

    Empty where the scores are of different rewards or prompts, or of one group.
    """
    if not comparable(groups):
        return {}
    found: dict[int, Level] = {}
    for seed in sorted({seed_of(run) for group in groups for run in group.runs}):
        runs = [(group, run) for group in groups for run in group.runs if seed_of(run) == seed]
        runs = [(group, run) for group, run in runs if run.over] or runs
        highest = [
            (max(series.values()), group.label, max(series, key=lambda place: series[place]))
            for group, run in runs
            if (series := run.series("proxy"))
        ]
        if len(highest) > 1:
            found[seed] = Level(seed, *min(highest))
    return found


def comparable(groups: Sequence[Group]) -> bool:
    """Whether the runs' held-out scores are of the same rewards on the same prompts."""
    runs = [run for group in groups for run in group.runs]
    judged = [(run.config.get("reward"), run.config["prompts"].get("eval")) for run in runs]
    return len(groups) > 1 and all(one == judged[0] for one in judged)


def seed_of(run: RecordedRun) -> int:
    """Return a run's seed."""
    return int(run.config.get("seed", 0))
