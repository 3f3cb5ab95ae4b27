"""A choice of captions: tags take turns, within a tag its families, within a family all members."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from guardcore import Prompt
from guardcore_plugins.tiny_world.scenes import DIGITS, TAGS, TASKS, Scene, Split, split_families

GROUPS = {"scenes": TASKS, DIGITS: (DIGITS,), "all": TAGS}


def choose(split: Split, task: str | tuple[str, ...], size: int, seed: int) -> list[Prompt]:
    """`size` prompts of a split; `task` is a group's name or tags."""
    tags = GROUPS[task] if isinstance(task, str) else task
    if not tags:
        raise ValueError(f"no tags given: expected some of {', '.join(TAGS)}")
    streams = [_of_tag(tag, split, seed) for tag in tags]
    scenes = itertools.islice(_by_turns(streams), size)
    return [Prompt(scene.caption, scene.metadata()) for scene in scenes]


def _of_tag(tag: str, split: Split, seed: int) -> Iterator[Scene]:
    rng = np.random.default_rng([seed, TAGS.index(tag)])
    families = [family for family in split_families(tag, split) if family]
    return _by_turns([_rounds(rng, family) for family in families])


def _rounds(rng: np.random.Generator, family: tuple[Scene, ...]) -> Iterator[Scene]:
    """All members in one random order, over and over."""
    order = rng.permutation(len(family))
    return itertools.cycle([family[int(index)] for index in order])


def _by_turns(streams: list[Iterator[Scene]]) -> Iterator[Scene]:
    return itertools.chain.from_iterable(zip(*streams, strict=True))
