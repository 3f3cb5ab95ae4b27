"""The grid: from strategies, seeds and varied values to cells, each a run with a name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from guardcore.binding import bind
from guardcore.bound import resolved
from guardcore.config import RunConfig
from guardcore.errors import ConfigError, GuardcoreError
from guardcore.layers import Overrides, assign, parse_config
from guardcore.registry import Registry
from guardcore.report.groups import WORDS, experiment

_ELSEWHERE = {"seed": "--seed", **dict.fromkeys(WORDS, "--strategy")}


@dataclass(frozen=True)
class Grid:
    """What was asked for: every strategy with every seed and every combination of values.

    Attributes:
        strategies: By name.
        seeds: One run each.
        vary: By config path, the values as they were typed: YAML.
    """

    strategies: tuple[str, ...]
    seeds: tuple[int, ...]
    vary: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def combinations(self) -> Iterator[tuple[str, tuple[str, ...], int]]:
        """Yield strategy, assignments and seed; a seed's cells lie together.

        So the first table has every strategy in it.
        """
        choices = [[f"{path}={value}" for value in some] for path, some in self.vary.items()]
        for seed, assignments in product(self.seeds, list(product(*choices))):
            for strategy in self.strategies:
                yield strategy, assignments, seed


@dataclass(frozen=True)
class Cell:
    """One run of the grid.

    Attributes:
        name: Its directory's.
        strategy: The strategy's name.
        seed: The run's.
        config: What to run.
    """

    name: str
    strategy: str
    seed: int
    config: RunConfig


def parse_vary(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Parse each ``PATH=V1,V2``; a comma inside brackets or braces belongs to a value.

    >>> parse_vary(["train.learning_rate=1e-3,2e-3"])
    {'train.learning_rate': ('1e-3', '2e-3')}
    """
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        path, equals, values = text.partition("=")
        if not (path and equals and values):
            raise GuardcoreError(f"--vary {text!r}: expected PATH=VALUE,VALUE")
        refuse_own(path, f"--vary {text}")
        if path in found:
            raise GuardcoreError(f"--vary {text}: {path} is varied twice; give all its values once")
        found[path] = tuple(dict.fromkeys(_split(values)))
    return found


def refuse_own(path: str, where: str) -> None:
    """Refuse a config path that the grid itself sets.

    Raises:
        GuardcoreError: With the option to use.
    """
    option = _ELSEWHERE.get(path.partition(".")[0])
    if option is not None:
        raise GuardcoreError(f"{where}: a study sets {path.partition('.')[0]} itself; use {option}")


def name(strategy: str, assignments: Sequence[str], seed: int) -> str:
    """Return a cell's name: ``guard-train.learning_rate=2e-3-seed0``."""
    parts = [re.sub(r"[^\w.=+]+", "-", text).strip("-") for text in (strategy, *assignments)]
    return "-".join([*parts, f"seed{seed}"])


def names(grids: Sequence[Grid]) -> list[str]:
    """Return the names of all cells of ``grids``, each once."""
    return list(dict.fromkeys(name(*where) for grid in grids for where in grid.combinations()))


def cells(base: Mapping[str, Any], grids: Sequence[Grid], registry: Registry) -> list[Cell]:
    """Return the cells of all grids, each once, bound to find every mistake before anything runs.

    Args:
        base: The config tree that all cells share.
        grids: What to lay over it.
        registry: The components.

    Raises:
        ConfigError: All that is wrong with any of them, each said once.
        GuardcoreError: Two cells are one and the same run.
    """
    found: dict[str, Cell] = {}
    same: dict[tuple[str, int], str] = {}
    problems: dict[str, None] = {}
    for strategy, assignments, seed in (c for grid in grids for c in grid.combinations()):
        called = name(strategy, assignments, seed)
        if called in found:
            continue
        try:
            config = parse_config({**_tree(base, strategy, assignments), "seed": seed})
            what = experiment(resolved(config, bind(config, registry)))
        except ConfigError as error:
            problems |= dict.fromkeys(error.problems)
            continue
        twin = same.setdefault((what, seed), called)
        if twin != called:
            raise GuardcoreError(f"{called} would be the same run as {twin}; leave one of them out")
        found[called] = Cell(called, strategy, seed, config)
    if problems:
        raise ConfigError(list(problems))
    return list(found.values())


def widened(stored: Sequence[Grid], asked: Mapping[str, Any]) -> list[Grid]:
    """Return the stored grids with what is asked for in place of theirs: other seeds, say."""
    given = {key: value for key, value in asked.items() if value}
    return list({repr(new): new for new in (replace(grid, **given) for grid in stored)}.values())


def _tree(base: Mapping[str, Any], strategy: str, assignments: Sequence[str]) -> Mapping[str, Any]:
    tree = Overrides(strategy=strategy).over(base)
    try:
        for assignment in assignments:
            tree = assign(tree, assignment)
    except GuardcoreError as error:
        raise GuardcoreError(str(error).replace("--set", "--vary", 1)) from error
    return tree


def _split(text: str) -> list[str]:
    """Split at the commas that are in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]
