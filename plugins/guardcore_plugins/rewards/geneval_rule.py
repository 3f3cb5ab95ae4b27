"""GenEval's rule: what was found against what was asked for, without any image.

Source: ``evaluate_images.py`` of Ghosh et al., GenEval (arXiv 2310.11513). Left out: its
non-maximum suppression, which is off (overlap limit 1) in the published setting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import prod, sqrt
from statistics import fmean
from typing import Any

from guardcore_plugins.rewards.geneval_task import Unwanted, Wanted, parse


@dataclass(frozen=True)
class Detection:
    """One object that a detector found.

    Attributes:
        label: Its class, as the metadata spells it.
        box: x0, y0, x1, y1 in pixels, y pointing down.
        score: The detector's confidence in [0, 1].
        color: Its colour's name, or what finds it out: asked only when a clause needs it, once.
    """

    label: str
    box: Sequence[float]
    score: float
    color: str | Callable[[], str | None] | None = None

    @cached_property
    def color_name(self) -> str | None:
        """The colour, found out on first use."""
        return self.color() if callable(self.color) else self.color


@dataclass(frozen=True)
class Verdict:
    """What the rule says: yes or no, why in one line, and the partial credit in [0, 1]."""

    correct: bool
    reason: str
    partial: float


@dataclass(frozen=True)
class _Check:
    """One check of a clause: it holds exactly when the credit is 1, else ``fault`` says why not."""

    credit: float
    fault: str


@dataclass(frozen=True)
class _Clause:
    """An include clause's checks and the objects that they looked at."""

    label: str
    checks: Sequence[_Check]
    objects: Sequence[Detection]

    @property
    def held(self) -> bool:
        return all(check.credit == 1 for check in self.checks)


def judge(
    metadata: Mapping[str, Any],
    detections: Sequence[Detection],
    *,
    threshold: float = 0.3,
    counting_threshold: float = 0.9,
    max_objects: int = 16,
    position_threshold: float = 0.1,
) -> Verdict:
    """Judge what was found against what was asked for, by GenEval's published rule.

    Each include clause checks its count, then its colour, then its position, all on its ``count``
    best objects; a check is reached only when those before it hold. Partial credit::

        partial = mean over include clauses(mean over the clause's checks(credit))
                  * product over exclude clauses(credit)

    with credit ``found/count`` for a count; the share of the right colour, or of the pairs of
    object and target that stand right; 0 for a check not reached; and ``count/(found + 1)``, at
    most 1, for an exclude clause. So an empty picture earns nothing where objects are wanted, each
    missing object and each that is excluded costs something, and ``partial == 1`` exactly when
    the picture is correct.

    Args:
        metadata: GenEval's ``tag``, ``include`` and, optionally, ``exclude``.
        detections: What a detector found, in any order; equal scores keep theirs.
        threshold: Objects count when their score lies strictly above.
        counting_threshold: The same where the tag is ``counting``.
        max_objects: How many objects of a class count at most, best first.
        position_threshold: Share of both objects' sizes that an offset must exceed.

    Raises:
        PromptError: The metadata is malformed; the message names the key.
    """
    task = parse(metadata)
    floor = counting_threshold if task.tag == "counting" else threshold
    found = _best(detections, floor, max_objects)
    include: list[_Clause] = []
    for wanted in task.include:
        include.append(_include(wanted, found.get(wanted.label, ()), include, position_threshold))
    exclude = [_exclude(unwanted, found.get(unwanted.label, ())) for unwanted in task.exclude]
    return _verdict(include, exclude)


def _verdict(include: Sequence[_Clause], exclude: Sequence[_Check]) -> Verdict:
    checks = [check for clause in include for check in clause.checks] + list(exclude)
    faults = [check.fault for check in checks if check.credit < 1 and check.fault]
    earned = [fmean(check.credit for check in clause.checks) for clause in include]
    credit = fmean(earned or [1.0]) * prod(check.credit for check in exclude)
    return Verdict(not faults, "; ".join(faults) or "everything as asked", credit)


def _best(
    detections: Sequence[Detection], floor: float, limit: int
) -> Mapping[str, Sequence[Detection]]:
    """Return each class's objects above ``floor``, best first, at most ``limit``."""
    found: dict[str, list[Detection]] = {}
    sure = [detection for detection in detections if detection.score > floor]
    for detection in sorted(sure, key=lambda detection: -detection.score):
        found.setdefault(detection.label, []).append(detection)
    return {label: objects[:limit] for label, objects in found.items()}


def _include(
    wanted: Wanted, found: Sequence[Detection], earlier: Sequence[_Clause], margin: float
) -> _Clause:
    """Check one clause on its ``count`` best objects, each check only if those before hold."""
    objects = found[: wanted.count]
    steps = [partial(_count, wanted, objects)]
    if wanted.color is not None:
        steps.append(partial(_color, wanted.label, wanted.color, objects))
    if wanted.position is not None:
        relation, target = wanted.position
        steps.append(partial(_position, wanted.label, relation, objects, earlier[target], margin))
    checks: list[_Check] = []
    for step in steps:
        reached = all(check.credit == 1 for check in checks)
        checks.append(step() if reached else _Check(0.0, ""))
    return _Clause(wanted.label, checks, objects)


def _count(wanted: Wanted, objects: Sequence[Detection]) -> _Check:
    return _Check(
        len(objects) / wanted.count, f"wanted {wanted.count} {wanted.label}, found {len(objects)}"
    )


def _color(label: str, color: str, objects: Sequence[Detection]) -> _Check:
    names = [detection.color_name for detection in objects]
    seen = ", ".join(name or "no colour" for name in names)
    return _Check(
        names.count(color) / len(names), f"wanted {len(names)} {color} {label}, found {seen}"
    )


def _position(
    label: str, relation: str, objects: Sequence[Detection], target: _Clause, margin: float
) -> _Check:
    """Check that every object stands in the relation to every object of the target clause."""
    wanted = f"wanted {label} {relation} {target.label}"
    if not target.held:
        return _Check(0.0, f"{wanted}, found no such {target.label}")
    pairs = [_relations(a.box, b.box, margin) for a in objects for b in target.objects]
    wrong = [pair for pair in pairs if relation not in pair]
    seen = " and ".join(wrong[0]) if wrong else ""
    return _Check(1 - len(wrong) / len(pairs), f"{wanted}, found {seen or 'no clear relation'}")


def _exclude(unwanted: Unwanted, found: Sequence[Detection]) -> _Check:
    return _Check(
        min(1.0, unwanted.count / (len(found) + 1)),
        f"wanted fewer than {unwanted.count} {unwanted.label}, found {len(found)}",
    )


def _relations(a: Sequence[float], b: Sequence[float], margin: float) -> Sequence[str]:
    """Return where box ``a`` lies as seen from box ``b``; boxes are x0, y0, x1, y1 in pixels.

    With centres c, sizes s and o = c_a - c_b: r = max(abs(o) - margin*(s_a + s_b), 0)*sign(o), and
    a direction holds when its share of r/||o|| is more than half.
    """
    offset = [(a[i] + a[i + 2]) / 2 - (b[i] + b[i + 2]) / 2 for i in (0, 1)]
    slack = [margin * (abs(a[i + 2] - a[i]) + abs(b[i + 2] - b[i])) for i in (0, 1)]
    beyond = [max(abs(o) - s, 0.0) for o, s in zip(offset, slack, strict=True)]
    if max(beyond) < 1e-3:  # pixels
        return ()
    length = sqrt(offset[0] ** 2 + offset[1] ** 2)
    words = (("left of", "right of"), ("above", "below"))
    return tuple(
        pair[o > 0] for pair, o, r in zip(words, offset, beyond, strict=True) if r / length > 0.5
    )
