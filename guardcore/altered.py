"""Which of a run's config keys differ from what they were, and which of them may."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

_MAY_CHANGE = {
    "train.iterations",
    "train.learning_rate",
    "train.max_grad_norm",
    "train.max_skipped_updates",
    "rollout.reward_timeout",
    "checkpoint.every",
    "checkpoint.keep",
    "record.iterations",
}
"""What a resumed run may set anew; ``_OBSERVING`` too, and what components' options name."""

_OBSERVING = {"tracker", "plugins"}
"""What is told about a run and changes nothing in it."""


def altered(
    stored: Mapping[str, Any], given: Mapping[str, Any], may_change: Collection[str] = ()
) -> list[str]:
    """Return the config paths that keep a run from going on.

    Args:
        stored: The config under which it was begun.
        given: That under which it is to go on.
        may_change: Paths that may differ, beside the core's own.
    """
    return sorted({*_differences(stored, given)} - _MAY_CHANGE - {*may_change})


def _differences(stored: Any, given: Any, path: str = "") -> list[str]:
    """Return the config paths at which two trees differ."""
    if isinstance(stored, Mapping) and isinstance(given, Mapping):
        keys = sorted({*stored, *given} - (_OBSERVING if not path else set()))
        return [
            place
            for key in keys
            for place in _differences(stored.get(key), given.get(key), f"{path}.{key}".lstrip("."))
        ]
    if isinstance(stored, list) and isinstance(given, list) and len(stored) == len(given):
        pairs = enumerate(zip(stored, given, strict=True))
        return [place for index, pair in pairs for place in _differences(*pair, f"{path}.{index}")]
    return [] if stored == given else [path]
