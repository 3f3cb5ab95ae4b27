"""Before and after on the same prompts and the same noise: paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Change:
    """What became of one score.

    Attributes:
        name: The reward's label.
        before: Mean score of the base model.
        after: Mean score now.
        difference: Mean of the differences, image by image.
        error: Its paired standard error; infinite for a single image.
        images: How many there are.
    """

    name: str
    before: float
    after: float
    difference: float
    error: float
    images: int


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Compare two evaluations as ``samples/*.json`` holds them; scores of one only are left out."""
    return [
        _change(name, before["scores"][name], scores)
        for name, scores in after["scores"].items()
        if len(scores) == len(before["scores"].get(name, ())) > 0
    ]


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of ``values`` and its standard error, infinite for a single value."""
    number = len(values)
    mean = sum(values) / number
    if number < 2:
        return mean, math.inf
    variance = sum((value - mean) ** 2 for value in values) / (number - 1)
    return mean, math.sqrt(variance / number)


def paired_difference(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """Return the mean of ``after − before`` and its paired standard error."""
    return mean_and_error([b - a for a, b in zip(before, after, strict=True)])


def _change(name: str, before: Sequence[float], after: Sequence[float]) -> Change:
    difference, error = paired_difference(before, after)
    number = len(after)
    return Change(name, sum(before) / number, sum(after) / number, difference, error, number)
