"""Groups side by side: every seed's numbers, and their mean with its spread."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardcore.change import mean_and_error
from guardcore.report.equal_proxy import Level, crossing, levels, seed_of
from guardcore.report.groups import WORDS, Group, experiment
from guardcore.report.measures import measures
from guardcore.report.read import RecordedRun
from guardcore.report.words import short

REFERENCE = "plain"
"""The strategy that the others are compared with, where it is among them."""


@dataclass(frozen=True)
class Figure:
    """A number over seeds.

    Attributes:
        mean: Over those that have it.
        deviation: Their standard deviation; NaN for one.
        number: How many have it.
    """

    mean: float
    deviation: float
    number: int

    @property
    def error(self) -> float:
        """The mean's standard error; NaN for one seed."""
        return self.deviation / math.sqrt(self.number)


@dataclass(frozen=True)
class Contender:
    """A group with its numbers.

    Attributes:
        label: The group's.
        colour: The group's.
        finished: Whether what counts here is finished.
        seeds: Those that count: the finished ones, or all where none is.
        missing: How many seeds are left out because they are not finished.
        runs: By seed, its numbers.
    """

    label: str
    colour: str
    finished: bool
    seeds: tuple[int, ...]
    missing: int
    runs: Mapping[int, Mapping[str, float]]

    def figure(self, key: str) -> Figure | None:
        """Return a number over the seeds; None where no seed has it."""
        values = [run[key] for run in self.runs.values() if key in run]
        if not values:
            return None
        mean, error = mean_and_error(values)
        deviation = error * math.sqrt(len(values)) if len(values) > 1 else math.nan
        return Figure(mean, deviation, len(values))

    @property
    def measured(self) -> list[str]:
        """The names of all numbers that a seed has."""
        return list(dict.fromkeys(key for run in self.runs.values() for key in run))


@dataclass(frozen=True)
class Comparison:
    """Contenders, and the proxy scores at which they were held against each other."""

    contenders: tuple[Contender, ...]
    levels: Mapping[int, Level]

    def plain(self) -> dict[str, Any]:
        """Return everything as data for JSON."""
        return {
            "equal_proxy": {
                str(seed): {"proxy": level.proxy, "best_of": level.holder, "at": level.iteration}
                for seed, level in self.levels.items()
            },
            "rows": [_plain(contender) for contender in self.contenders],
        }


def compare(groups: Sequence[Group]) -> Comparison:
    """Compare groups; the finished runs of each count, or all where none is finished."""
    counted = [_counted(group) for group in groups]
    at = levels(counted)
    found = [
        {seed_of(run): _held(run, at, measures(run)) for run in group.runs} for group in counted
    ]
    for group, runs in zip(counted, found, strict=True):
        reference = _reference(group, counted)
        if reference is not None:
            _pair(runs, found[reference])
    contenders = [
        _contender(group, own, runs)
        for group, own, runs in zip(groups, counted, found, strict=True)
    ]
    return Comparison(tuple(contenders), at)


def _contender(group: Group, counted: Group, runs: Mapping[int, Mapping[str, float]]) -> Contender:
    return Contender(
        label=group.label,
        colour=group.colour,
        finished=all(run.over for run in counted.runs),
        seeds=tuple(runs),
        missing=len(group.runs) - len(counted.runs),
        runs=runs,
    )


def _pair(runs: Mapping[int, dict[str, float]], plain: Mapping[int, dict[str, float]]) -> None:
    """Add the difference to the same seed's run under plain, both where they reached P*."""
    for seed, own in runs.items():
        theirs = plain.get(seed, {})
        if "gold_equal" in own and "gold_equal" in theirs:
            own["gold_vs_plain"] = own["gold_equal"] - theirs["gold_equal"]


def _counted(group: Group) -> Group:
    finished = tuple(run for run in group.runs if run.over)
    return Group(group.label, group.colour, finished or group.runs)


def _held(run: RecordedRun, at: Mapping[int, Level], found: dict[str, float]) -> dict[str, float]:
    """Add what the run was when it first reached its seed's P*."""
    level = at.get(seed_of(run))
    where = level and crossing(run.series("proxy"), run.series("gold"), level.proxy)
    if where:
        found["iteration_equal"] = where.iteration
        found |= {"gold_equal": where.gold} if math.isfinite(where.gold) else {}
    return found


def _reference(group: Group, groups: Sequence[Group]) -> int | None:
    """Return the place of the group that differs in being under ``plain`` alone."""
    if _strategy(group) == REFERENCE:
        return None
    own = _but_words(group)
    for place, other in enumerate(groups):
        if _strategy(other) == REFERENCE and _but_words(other) == own:
            return place
    return None


def _strategy(group: Group) -> str:
    return short(str(group.runs[0].config.get("strategy")))


def _but_words(group: Group) -> str:
    return experiment(group.runs[0].config, without=WORDS)


def _plain(contender: Contender) -> dict[str, Any]:
    figures = {key: contender.figure(key) for key in contender.measured}
    return {
        "label": contender.label,
        "finished": contender.finished,
        "seeds": list(contender.seeds),
        "figures": {
            key: {
                "mean": figure.mean,
                "deviation": None if math.isnan(figure.deviation) else figure.deviation,
                "number": figure.number,
            }
            for key, figure in figures.items()
            if figure is not None
        },
        "runs": {str(seed): dict(found) for seed, found in contender.runs.items()},
    }
