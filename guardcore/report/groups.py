"""Which runs are one experiment under several seeds, and what to call them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardcore.report.read import RecordedRun
from guardcore.report.words import short, strategy_name

_ASIDE = {"seed", "tracker", "checkpoint", "deterministic", "strategy_options", "reward_options"}
WORDS = {"strategy", "ratio", "gradient_weight"}


@dataclass(frozen=True)
class Group:
    """Runs whose configs differ in the seed at most.

    Attributes:
        label: Strategy, and what else tells it from the other groups.
        colour: The same in every figure.
        runs: At least one, by seed.
    """

    label: str
    colour: str
    runs: tuple[RecordedRun, ...]


# Okabe and Ito's colours, which most colour-blind readers can tell apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#595959")


def group_runs(runs: Sequence[RecordedRun]) -> list[Group]:
    """Return the groups in the order of their first run."""
    found: dict[str, list[RecordedRun]] = {}
    for run in runs:
        found.setdefault(experiment(run.config), []).append(run)
    groups = list(found.values())
    labels = _labels([members[0] for members in groups])
    return [
        Group(label, COLOURS[n % len(COLOURS)], tuple(sorted(members, key=_seed)))
        for n, (label, members) in enumerate(zip(labels, groups, strict=True))
    ]


def experiment(config: Mapping[str, Any], *, without: Collection[str] = ()) -> str:
    """Return what runs under several seeds have in common, as a key."""
    kept = {name: value for name, value in config.items() if name not in {*_ASIDE, *without}}
    return json.dumps(kept, sort_keys=True, default=str)


def flat(tree: Any, path: str = "") -> dict[str, Any]:
    """Return the leaves of a config by their paths."""
    if isinstance(tree, Mapping) and tree:
        parts = ((f"{path}.{key}".lstrip("."), value) for key, value in tree.items())
    elif isinstance(tree, list | tuple) and tree:
        parts = ((f"{path}.{number}", value) for number, value in enumerate(tree))
    else:
        return {path: tree}
    return {leaf: value for part, below in parts for leaf, value in flat(below, part).items()}


def differing(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the config paths at which not all are the same, those set aside left out."""
    leaves = [flat({k: v for k, v in c.items() if k not in _ASIDE}) for c in configs]
    paths = dict.fromkeys(path for leaf in leaves for path in leaf)
    return [p for p in paths if any(leaf.get(p) != leaves[0].get(p) for leaf in leaves)]


def _labels(firsts: Sequence[RecordedRun]) -> list[str]:
    """Name each by its strategy, and those of one strategy by what else tells them apart."""
    configs = [run.config for run in firsts]
    names = [strategy_name(config) for config in configs]
    by_name: dict[str, list[Mapping[str, Any]]] = {name: [] for name in names}
    for name, config in zip(names, configs, strict=True):
        by_name[name].append(config)
    return [
        ", ".join([name, *_marks(config, by_name[name])])
        for name, config in zip(names, configs, strict=True)
    ]


def _marks(config: Mapping[str, Any], alike: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return as few of a config's values as tell it from the others."""
    paths = differing(alike)
    paths = [path for path in paths if path.partition(".")[0] not in WORDS] or paths
    leaves = [flat(other) for other in alike]
    for number in range(len(paths) + 1):
        chosen = paths[:number]
        if len({tuple(str(leaf.get(path)) for path in chosen) for leaf in leaves}) == len(alike):
            break
    own = flat(config)
    return [f"{_last(path)}={short(str(own.get(path, '–')))}" for path in chosen]


def _last(path: str) -> str:
    """Return the key that a path ends in, without the numbers of list items."""
    return next(key for key in reversed(path.split(".")) if not key.isdigit())


def _seed(run: RecordedRun) -> int:
    return int(run.config.get("seed", 0))
