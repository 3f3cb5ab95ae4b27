"""What all cells of a study share: the config without the strategy's words and the seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guardcore.binding import bind
from guardcore.bound import resolved
from guardcore.layers import Overrides, parse_config
from guardcore.registry import Registry
from guardcore.report.groups import WORDS, flat
from guardcore.study.grid import refuse_own

_OWN = {*WORDS, "seed"}
_MAY_CHANGE = {"tracker", "checkpoint", "train.iterations"}
"""What another session may set anew. With more iterations every cell goes on."""


def base_of(tree: Mapping[str, Any], overrides: Overrides, registry: Registry) -> dict[str, Any]:
    """Return a config tree with the overrides over it as a base, every default written out.

    Raises:
        ConfigError: All that is wrong with it.
        GuardcoreError: An override sets what the grid sets.
    """
    for assignment in overrides.assignments:
        refuse_own(assignment.partition("=")[0], f"--set {assignment}")
    config = parse_config(_without(overrides.over(tree)))
    return _without(resolved(config, bind(config, registry)))


def differing(stored: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return the config paths at which two bases differ and must not."""
    before, now = flat(stored), flat(given)
    paths = sorted(path for path in {*before, *now} if before.get(path) != now.get(path))
    return [path for path in paths if not _may_change(path)]


def _may_change(path: str) -> bool:
    return any(path == free or path.startswith(f"{free}.") for free in _MAY_CHANGE)


def _without(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tree.items() if key not in _OWN}
