"""How often a preference model is right on captions that training never sees."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rich.table import Table

from guardcore import Prompt
from guardcore_plugins.rewards.pickscore import PickScoreOptions, pickscore
from guardcore_plugins.tiny_world.preference_data import Comparison, as_images, compare

Accuracies = dict[str, dict[str, tuple[float, int]]]
"""Group → what in it → (share of right answers, number of comparisons)."""

_SEED = 20_251


def measure(model: Path, size: int) -> Accuracies:
    """Score held-out comparisons with the reward itself, as a run would.

    Returns:
        ``wrong`` by task and ``spoilt`` by the way of spoiling, each with a line ``all``.
    """
    drawn = [compare(np.random.default_rng([_SEED, k]), "eval") for k in range(size)]
    right, wrong, spoilt = scores(model, drawn)
    return {
        "wrong": _shares((c.tag for c in drawn), right > wrong),
        "spoilt": _shares((c.kind for c in drawn), right > spoilt),
    }


def scores(model: Path, drawn: list[Comparison]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores ``[N]`` of the right, the wrong and the spoilt pictures, each under its caption."""
    reward = pickscore(PickScoreOptions(model=str(model)))
    prompts = [Prompt(comparison.caption) for comparison in drawn]
    kinds = ([c.right for c in drawn], [c.wrong for c in drawn], [c.spoilt for c in drawn])
    right, wrong, spoilt = (reward(as_images(kind), prompts).numpy() for kind in kinds)
    reward.close()
    return right, wrong, spoilt


def table(accuracies: Accuracies) -> Table:
    """The accuracies for a terminal."""
    result = Table("right against", "of", "accuracy", "comparisons")
    for group, lines in accuracies.items():
        for name, (share, number) in lines.items():
            result.add_row(group, name, f"{share:.1%}", str(number))
    return result


def _shares(names: Iterable[str], correct: np.ndarray) -> dict[str, tuple[float, int]]:
    by_name: dict[str, list[bool]] = defaultdict(list)
    for name, answer in zip(names, correct.tolist(), strict=True):
        by_name["all"].append(answer)
        by_name[name].append(answer)
    return {name: (float(np.mean(by_name[name])), len(by_name[name])) for name in sorted(by_name)}
