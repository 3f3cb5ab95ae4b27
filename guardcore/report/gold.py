"""Whether the reward is still the goal: what is trained on against what only judges.

``proxy`` is the held-out mean of what is trained on, ``gold`` that of the rewards with weight 0,
each over the base model's value; ``alarm`` is 1 where the watch saw the one rise and the other
fall.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from guardcore.change import paired_difference
from guardcore.report.curves import Curve, evaluation_curves
from guardcore.report.groups import Group
from guardcore.report.read import RecordedRun
from guardcore.report.steps import mean
from guardcore.report.words import number

PROXY = "proxy"
GOLD = "gold"
ALARM = "alarm"


@dataclass(frozen=True)
class Way:
    """A group's way through proxy and gold, evaluation by evaluation.

    Attributes:
        label: The group's.
        colour: The group's.
        iterations: Those that all its seeds evaluated at.
        proxy: At each, the mean over seeds.
        gold: At each, the mean over seeds.
        alarmed: Of the iterations, those at which a seed raised the alarm.
    """

    label: str
    colour: str
    iterations: tuple[int, ...]
    proxy: tuple[float, ...]
    gold: tuple[float, ...]
    alarmed: frozenset[int]


def ways(groups: Sequence[Group]) -> list[Way]:
    """Return the ways of the groups that have gold."""
    found = [_way(group) for group in groups]
    return [way for way in found if way is not None and way.iterations]


def gold_curves(groups: Sequence[Group]) -> list[Curve]:
    """Return gold over the iterations; of a single run with the noise that its images leave."""
    curves = evaluation_curves(groups, GOLD)
    runs = [[run for run in group.runs if run.series(GOLD)] for group in groups]
    return [
        replace(curve, spread=tuple(_error(some[0], iteration) for iteration in curve.x))
        if len(some) == 1
        else curve
        for curve, some in zip(curves, filter(None, runs), strict=True)
    ]


def judges(run: RecordedRun) -> list[str]:
    """Return the rewards that a run is never trained on."""
    trained = run.labels("reward")
    return [label for label in run.labels("eval") if label not in trained]


def has_gold(groups: Sequence[Group]) -> bool:
    """Whether anything but the trained score has judged, in any of the runs."""
    return any(run.series(GOLD) for group in groups for run in group.runs)


def was_watched(groups: Sequence[Group]) -> bool:
    """Whether these are runs of a version that has a watch."""
    return any(run.series(PROXY) for group in groups for run in group.runs)


def alarms(groups: Sequence[Group]) -> list[str]:
    """Return a sentence for every run that raised an alarm: since when, and where to go back to."""
    return [
        f"{_who(groups, group, run)} at {_when(run)}. {_remedy(run)}"
        for group in groups
        for run in group.runs
        if alarmed(run)
    ]


def alarmed(run: RecordedRun) -> list[int]:
    """Return the iterations at which a run raised the alarm."""
    return [iteration for iteration, value in run.series(ALARM).items() if value > 0]


def best_iteration(run: RecordedRun) -> int:
    """Return the iteration with the highest gold score, the base model's left out."""
    gold = {iteration: value for iteration, value in run.series(GOLD).items() if iteration > 0}
    return max(gold, key=lambda iteration: gold[iteration])


def _way(group: Group) -> Way | None:
    proxy, gold = (evaluation_curves([group], key) for key in (PROXY, GOLD))
    if not (proxy and gold):
        return None
    across = dict(zip(proxy[0].x, proxy[0].y, strict=True))
    up = dict(zip(gold[0].x, gold[0].y, strict=True))
    shared = tuple(iteration for iteration in across if iteration in up)
    return Way(
        label=gold[0].label,
        colour=group.colour,
        iterations=shared,
        proxy=tuple(across[iteration] for iteration in shared),
        gold=tuple(up[iteration] for iteration in shared),
        alarmed=frozenset(i for run in group.runs for i in alarmed(run)) & frozenset(shared),
    )


def _error(run: RecordedRun, iteration: int) -> float:
    """Return the standard error of gold's change since the base model, image by image."""
    before, after = (_scores(run, number) for number in (0, iteration))
    if len(before) != len(after) or len(after) < 2:
        return 0.0
    error = paired_difference(before, after)[1]
    return error if math.isfinite(error) else 0.0


def _scores(run: RecordedRun, iteration: int) -> list[float]:
    """Return every image's gold score."""
    base, scores = (run.evaluations.get(i, {}).get("scores", {}) for i in (0, iteration))
    means = {label: mean(base[label]) for label in judges(run) if base.get(label)}
    parts = [
        [score / value for score in scores.get(label, ())]
        for label, value in means.items()
        if value > 0
    ]
    return [sum(image) / len(image) for image in zip(*parts, strict=True)]


def _who(groups: Sequence[Group], group: Group, run: RecordedRun) -> str:
    several = [group.label] if len(groups) > 1 else []
    seeds = [f"seed {run.config['seed']}"] if len(group.runs) > 1 else []
    named = ", ".join(several + seeds)
    return f"{named}: alarm" if named else "Alarm"


def _when(run: RecordedRun) -> str:
    times = [str(iteration) for iteration in alarmed(run)]
    return f"iteration{'s' if len(times) > 1 else ''} {', '.join(times)}"


def _remedy(run: RecordedRun) -> str:
    best = best_iteration(run)
    gold = run.series(GOLD)
    last = f"now {number(gold[max(gold)])}"
    if gold[best] <= 1:
        return f"Gold never rose above the base model's 1 ({last}): do not use this run's weights."
    checkpoint = run.directory.checkpoints / f"iteration-{best:06d}"
    where = f"checkpoints/{checkpoint.name} is the model to take"
    if not checkpoint.is_dir():
        where = "its checkpoint is not kept; another time set watch.keep_best=true"
    return f"Gold was highest at iteration {best} ({number(gold[best])}, {last}): {where}."
