"""GenEval's metadata, checked once and typed, so that the rule itself needs no checks.

Source: Ghosh et al., GenEval (arXiv 2310.11513), the published ``metadata`` files. A key that is
``None`` counts as absent: tables of structs fill their gaps that way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardcore_plugins.rewards.inputs import PromptError

RELATIONS = ("left of", "right of", "above", "below")
INCLUDE_KEYS = ("class", "count", "color", "position")
EXCLUDE_KEYS = ("class", "count")


@dataclass(frozen=True)
class Wanted:
    """At least ``count`` objects of a class, of a colour, in a relation to another clause's."""

    label: str
    count: int
    color: str | None = None
    position: tuple[str, int] | None = None


@dataclass(frozen=True)
class Unwanted:
    """Fewer than ``count`` objects of a class."""

    label: str
    count: int


@dataclass(frozen=True)
class Task:
    """What one prompt asks for: all of ``include``, none of ``exclude``."""

    tag: str
    include: tuple[Wanted, ...]
    exclude: tuple[Unwanted, ...]


def parse(metadata: Mapping[str, Any]) -> Task:
    """Read GenEval's ``tag``, ``include`` and ``exclude``; other keys are left alone.

    Raises:
        PromptError: A key is missing or malformed; the message names it.
    """
    tag = _need(metadata, "tag", str, "a string", "metadata")
    include = _need(metadata, "include", Sequence, "a list of clauses", "metadata")
    exclude = metadata.get("exclude")
    if exclude is None:
        exclude = ()
    if not isinstance(exclude, Sequence) or isinstance(exclude, str):
        raise PromptError(f"metadata: 'exclude' must be a list of clauses, received {exclude!r}")
    return Task(
        tag,
        tuple(_wanted(clause, index) for index, clause in enumerate(include)),
        tuple(_unwanted(clause, index) for index, clause in enumerate(exclude)),
    )


def _wanted(clause: Any, index: int) -> Wanted:
    where = f"include[{index}]"
    label, count = _label_and_count(clause, where, INCLUDE_KEYS)
    color = clause.get("color")
    if color is not None and not isinstance(color, str):
        raise PromptError(f"{where}: 'color' must be a string, received {color!r}")
    position = clause.get("position")
    return Wanted(label, count, color, None if position is None else _position(position, index))


def _unwanted(clause: Any, index: int) -> Unwanted:
    return Unwanted(*_label_and_count(clause, f"exclude[{index}]", EXCLUDE_KEYS))


def _label_and_count(clause: Any, where: str, known: Sequence[str]) -> tuple[str, int]:
    if not isinstance(clause, Mapping):
        raise PromptError(f"{where}: expected a mapping with 'class' and 'count', got {clause!r}")
    for key, value in clause.items():
        if value is not None and key not in known:
            raise PromptError(f"{where}: unknown key {key!r}, known are {', '.join(known)}")
    label = _need(clause, "class", str, "a string", where)
    count = _need(clause, "count", int, "a whole number of 1 or more", where)
    if isinstance(count, bool) or count < 1:
        raise PromptError(f"{where}: 'count' must be a whole number of 1 or more, got {count!r}")
    return label, count


def _position(position: Any, index: int) -> tuple[str, int]:
    """Check ``[relation, target]``; the target is the index of an earlier include clause."""
    where = f"include[{index}]: 'position'"
    if not isinstance(position, Sequence) or isinstance(position, str) or len(position) != 2:
        raise PromptError(f"{where} must be [relation, index of a clause], received {position!r}")
    relation, target = position
    if relation not in RELATIONS:
        raise PromptError(f"{where}: unknown {relation!r}, known are {', '.join(RELATIONS)}")
    if not isinstance(target, int) or isinstance(target, bool) or not 0 <= target < index:
        raise PromptError(
            f"{where}: {target!r} is not the index of an earlier include clause (below {index})"
        )
    return relation, target


def _need(mapping: Mapping[str, Any], key: str, kind: type, meaning: str, where: str) -> Any:
    value = mapping.get(key)
    if value is None:
        raise PromptError(f"{where}: no {key!r}, which GenEval's rule needs ({meaning})")
    if not isinstance(value, kind) or (isinstance(value, str) and kind is not str):
        raise PromptError(f"{where}: {key!r} must be {meaning}, received {value!r}")
    return value
