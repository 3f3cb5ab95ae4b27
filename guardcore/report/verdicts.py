"""Whether it helped: held-out scores before and after, with the error of their difference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guardcore.change import Change, changes, mean_and_error
from guardcore.report.groups import Group
from guardcore.report.read import RecordedRun
from guardcore.report.words import number, plural


@dataclass(frozen=True)
class Verdict:
    """One row of the table, in words; ``basis`` says what the error is taken over."""

    who: str
    colour: str
    reward: str
    before: str
    after: str
    change: str
    reading: str
    basis: str


def verdicts(groups: Sequence[Group]) -> list[Verdict]:
    """Return a row per group and held-out score, over the seeds where a group has several."""
    return [row for group in groups for row in _joint(group) or _single(group)]


def every_seed(groups: Sequence[Group]) -> list[Verdict]:
    """Return a row per run and score of the groups whose seeds the other table joins."""
    return [row for group in groups if _joint(group) for row in _single(group)]


def _joint(group: Group) -> list[Verdict]:
    found = [change for run in group.runs for change in _changes(run)]
    names = dict.fromkeys(change.name for change in found)
    together = [[change for change in found if change.name == name] for name in names]
    return [
        _verdict(group, group.label, _mean(some), f"{plural(len(some), 'seed')}, s.e. over them")
        for some in together
        if len(some) > 1
    ]


def _single(group: Group) -> Iterator[Verdict]:
    for run in group.runs:
        who = group.label if len(group.runs) == 1 else f"{group.label}, seed {run.config['seed']}"
        for change in _changes(run):
            first, last = min(run.evaluations), max(run.evaluations)
            basis = f"{plural(change.images, 'image')}, iterations {first} and {last}"
            yield _verdict(group, who, change, basis)


def _changes(run: RecordedRun) -> list[Change]:
    """Compare a run's first evaluation with its last."""
    if len(run.evaluations) < 2:
        return []
    return changes(run.evaluations[min(run.evaluations)], run.evaluations[max(run.evaluations)])


def _mean(found: Sequence[Change]) -> Change:
    """Return the mean of several seeds' changes, with its standard error over the seeds."""
    before, _ = mean_and_error([change.before for change in found])
    after, _ = mean_and_error([change.after for change in found])
    difference, error = mean_and_error([change.difference for change in found])
    return Change(found[0].name, before, after, difference, error, len(found))


def _verdict(group: Group, who: str, change: Change, basis: str) -> Verdict:
    scale = max(abs(change.before), abs(change.after))
    before, after, error = (number(v, scale) for v in (change.before, change.after, change.error))
    difference = number(change.difference, scale, "+")
    return Verdict(
        who=who,
        colour=group.colour,
        reward=change.name,
        before=before,
        after=after,
        change=f"{difference} ± {error}" if math.isfinite(change.error) else difference,
        reading=_reading(change),
        basis=basis,
    )


def _reading(change: Change) -> str:
    """Return in a word what a change is, by Student's 95 % interval of its mean."""
    from scipy.special import stdtrit

    if not (math.isfinite(change.difference) and math.isfinite(change.error)):
        return "cannot tell"
    width = float(stdtrit(change.images - 1, 0.975)) * change.error
    if change.difference == 0 or abs(change.difference) < width:
        return "no clear change"
    return "better" if change.difference > 0 else "worse"
