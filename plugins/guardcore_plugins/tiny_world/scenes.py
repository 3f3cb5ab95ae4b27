"""The scenes of the tiny world: what can be in a picture, how it is captioned, who holds it out.

A scene is a short sentence about simple shapes, in one of GenEval's six tasks, or a number to be
written. Captions are finitely many, so the split is a property of the caption alone: within each
tag the fifth with the smallest hashes is held out. Pictures are drawn in `drawing`.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import numpy as np

Split = Literal["train", "eval"]

PALETTE: Mapping[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (245, 133, 20),
    "yellow": (248, 210, 20),
    "green": (34, 150, 66),
    "blue": (32, 92, 214),
    "purple": (134, 56, 176),
    "black": (28, 28, 34),
}
PLURALS: Mapping[str, str] = {
    "circle": "circles",
    "square": "squares",
    "triangle": "triangles",
    "cross": "crosses",
    "ring": "rings",
}
NUMERALS: Mapping[int, str] = {2: "two", 3: "three", 4: "four"}
RELATIONS = ("left of", "right of", "above", "below")
TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
DIGITS = "digits"
TAGS = (*TASKS, DIGITS)
PREFIXES = ("", "a photo of ", "a picture of ")
HELD_OUT = 5  # one caption in so many


@dataclass(frozen=True)
class Thing:
    """`count` shapes of one kind; a colour of None is left to chance and not captioned."""

    shape: str
    count: int = 1
    color: str | None = None

    @property
    def words(self) -> str:
        """The noun phrase: "a red circle", "three squares"."""
        noun = self.shape if self.count == 1 else PLURALS[self.shape]
        phrase = f"{self.color} {noun}" if self.color else noun
        if self.count > 1:
            return f"{NUMERALS[self.count]} {phrase}"
        return f"an {phrase}" if phrase.startswith("o") else f"a {phrase}"

    @property
    def clause(self) -> dict[str, Any]:
        """GenEval's `include` entry."""
        color = {} if self.color is None else {"color": self.color}
        return {"class": self.shape, "count": self.count, **color}


@dataclass(frozen=True)
class Scene:
    """What a caption says: things, how the first stands to the second, or digits to write."""

    tag: str
    things: tuple[Thing, ...] = ()
    relation: str | None = None
    digits: str | None = None
    prefix: str = ""

    @property
    def caption(self) -> str:
        """The prompt's text."""
        if self.digits is not None:
            return f'the number "{self.digits}"'
        joint = f" {self.relation or 'and'} "
        return self.prefix + joint.join(thing.words for thing in self.things)

    def metadata(self) -> dict[str, Any]:
        """GenEval's metadata; digits carry their text instead of clauses."""
        if self.digits is not None:
            return {"tag": self.tag, "text": self.digits, "prompt": self.caption}
        return {
            "tag": self.tag,
            "include": self._include(),
            "exclude": self._exclude(),
            "prompt": self.caption,
        }

    def _include(self) -> list[dict[str, Any]]:
        clauses = [thing.clause for thing in self.things]
        if self.relation is None:
            return clauses
        subject, anchor = clauses  # GenEval names the anchor first, the position refers to it
        return [anchor, {**subject, "position": [self.relation, 0]}]

    def _exclude(self) -> list[dict[str, Any]]:
        """Nothing else may be there, in any task: else more shapes are more chances."""
        wanted = {thing.shape: thing.count for thing in self.things}
        return [{"class": shape, "count": wanted.get(shape, 0) + 1} for shape in PLURALS]


def _pairs(colored: bool) -> Iterator[tuple[Thing, Thing]]:
    """Ordered pairs of unlike shapes, on request in every two unlike colours."""
    colors = list(itertools.permutations(PALETTE, 2)) if colored else [(None, None)]
    for left, right in itertools.permutations(PLURALS, 2):
        for first, second in colors:
            yield Thing(left, color=first), Thing(right, color=second)


def _prefixed(scenes: list[Scene]) -> list[Scene]:
    return [replace(scene, prefix=prefix) for prefix in PREFIXES for scene in scenes]


def _counting(colors: tuple[str | None, ...]) -> list[Scene]:
    kinds = itertools.product(PLURALS, NUMERALS, colors)
    return [Scene("counting", (Thing(shape, count, color),)) for shape, count, color in kinds]


def _position(colored: bool) -> list[Scene]:
    return [Scene("position", pair, word) for pair in _pairs(colored) for word in RELATIONS]


@cache
def families(tag: str) -> tuple[tuple[Scene, ...], ...]:
    """All scenes of a tag, in families that are drawn equally often whatever their size."""
    colored = itertools.product(PLURALS, PALETTE)
    lists: dict[str, list[list[Scene]]] = {
        "single_object": [_prefixed([Scene(tag, (Thing(shape),)) for shape in PLURALS])],
        "two_object": [_prefixed([Scene(tag, pair) for pair in _pairs(False)])],
        "counting": [_prefixed(_counting((None,))), _counting(tuple(PALETTE))],
        "colors": [_prefixed([Scene(tag, (Thing(s, color=c),)) for s, c in colored])],
        "position": [_prefixed(_position(False)), _position(True)],
        "color_attr": [[Scene(tag, pair) for pair in _pairs(True)]],
        DIGITS: [
            [Scene(tag, digits=str(n)) for n in range(10**k, 10 ** (k + 1))] for k in (1, 2, 3)
        ],
    }
    if tag not in lists:
        raise ValueError(f"unknown tag {tag!r}: expected one of {', '.join(TAGS)}")
    return tuple(tuple(family) for family in lists[tag])


def _hash(caption: str) -> str:
    return hashlib.sha256(caption.encode()).hexdigest()


@cache
def held_out(tag: str) -> frozenset[str]:
    """The captions of a tag that training never sees."""
    captions = sorted({s.caption for family in families(tag) for s in family}, key=_hash)
    return frozenset(captions[: len(captions) // HELD_OUT])


@cache
def split_families(tag: str, split: Split) -> tuple[tuple[Scene, ...], ...]:
    """`families` of one split."""
    out = held_out(tag)
    wanted = split == "eval"
    return tuple(
        tuple(scene for scene in family if (scene.caption in out) == wanted)
        for family in families(tag)
    )


@cache
def captions(tag: str, split: Split) -> frozenset[str]:
    """All captions of a tag in one split."""
    return frozenset(s.caption for family in split_families(tag, split) for s in family)


def draw_scene(rng: np.random.Generator, tag: str, split: Split) -> Scene:
    """A random scene: first a family of the tag, then one of its members."""
    choices = split_families(tag, split)
    family = choices[int(rng.integers(len(choices)))]
    return family[int(rng.integers(len(family)))]


def mistake(rng: np.random.Generator, scene: Scene) -> Scene:
    """A training scene one attribute away from `scene`: what a careless captioner would write."""
    while True:
        wrong = _digit_mistake(rng, scene) if scene.digits else _attribute_mistake(rng, scene)
        if wrong != scene and wrong.caption in captions(scene.tag, "train"):
            return wrong


def _pick(rng: np.random.Generator, options: Any) -> Any:
    choices = list(options)
    return choices[int(rng.integers(len(choices)))]


def _digit_mistake(rng: np.random.Generator, scene: Scene) -> Scene:
    text = list(scene.digits or "")
    place = int(rng.integers(len(text)))
    text[place] = _pick(rng, "123456789" if place == 0 else "0123456789")
    return replace(scene, digits="".join(text))


def _attribute_mistake(rng: np.random.Generator, scene: Scene) -> Scene:
    """Another relation where there is one (half the time), else another shape, colour or count."""
    if scene.relation and rng.random() < 0.5:
        return replace(scene, relation=_pick(rng, RELATIONS))
    things = list(scene.things)
    place = int(rng.integers(len(things)))
    things[place] = _thing_mistake(rng, things[place])
    if len({thing.shape for thing in things}) < len(things):
        return scene
    return replace(scene, things=tuple(things))


def _thing_mistake(rng: np.random.Generator, thing: Thing) -> Thing:
    kinds = ["shape"] + ["color"] * bool(thing.color) + ["count"] * 2 * (thing.count > 1)
    kind = _pick(rng, kinds)
    if kind == "color":
        return replace(thing, color=_pick(rng, PALETTE))
    if kind == "count":
        return replace(thing, count=_pick(rng, NUMERALS))
    return replace(thing, shape=_pick(rng, PLURALS))
