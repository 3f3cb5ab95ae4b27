"""Pictures of scenes: anti-aliased shapes on a light ground, 64 pixels square.

The shapes' outlines live here, in a unit box from -1 to 1, y downwards; the reader makes its
templates from the same outlines. Shapes and digits stand in step with the tiny transformer's
patches, so that a token always sees the same quarters of shapes: a small model learns to draw
clean edges soon, and spends the rest of its training on what the caption says.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from guardcore_plugins.tiny_world.scenes import PALETTE, Scene

SIZE = 64  # pixels
SCALE = 4  # supersampling
PATCH = 16  # pixels of an image token: 8 by the VAE, 2 by the transformer
SPOTS = tuple(range(PATCH, SIZE, PATCH))  # coordinates at which a shape's centre may lie
DIAMETERS = (20.0, 26.0)  # pixels
APART = 2 * PATCH  # pixels between two centres, along one axis at least
RING = 0.5  # inner radius of a ring, as a share of the outer
ARM = 0.36  # half width of a cross's arm
INKS = ("black", "blue", "red", "purple")  # colours in which digits stay legible
FONT_SIZE = 27  # pixels; the widest digit fills a patch

Point = tuple[float, float]
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Mark:
    """One shape on the canvas: centre and diameter in pixels."""

    shape: str
    color: str
    x: float
    y: float
    diameter: float


def _circle(radius: float) -> list[Point]:
    angles = [2 * math.pi * k / 72 for k in range(72)]
    return [(radius * math.cos(a), radius * math.sin(a)) for a in angles]


def outlines(shape: str) -> list[list[Point]]:
    """The outer outline of a shape, and the outline of its hole if it has one."""
    if shape == "circle":
        return [_circle(1.0)]
    if shape == "ring":
        return [_circle(1.0), _circle(RING)]
    if shape == "square":
        return [[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]]
    if shape == "triangle":
        return [[(0.0, -0.95), (1.05, 0.9), (-1.05, 0.9)]]
    if shape == "cross":
        corner = [(ARM, -1.0), (ARM, -ARM), (1.0, -ARM)]
        return [[p for k in range(4) for p in _quarter_turns(corner, k)]]
    raise ValueError(f"unknown shape {shape!r}")


def _quarter_turns(points: list[Point], turns: int) -> list[Point]:
    for _ in range(turns):
        points = [(-y, x) for x, y in points]
    return points


def _background(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = int(rng.integers(238, 249)) + rng.integers(-4, 5, 3)
    return int(red), int(green), int(blue)


def _canvas(ground: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (SIZE * SCALE, SIZE * SCALE), ground)


def _shrink(image: Image.Image) -> Picture:
    return np.asarray(image.reduce(SCALE), dtype=np.uint8)


def paint(marks: list[Mark], ground: tuple[int, int, int]) -> Picture:
    """The picture `[64, 64, 3]` of the marks on a plain ground."""
    image = _canvas(ground)
    pen = ImageDraw.Draw(image)
    for mark in marks:
        fills = (PALETTE[mark.color], ground)
        for outline, fill in zip(outlines(mark.shape), fills, strict=False):
            radius = mark.diameter / 2
            points = [(mark.x + radius * x, mark.y + radius * y) for x, y in outline]
            pen.polygon([(x * SCALE, y * SCALE) for x, y in points], fill=fill)
    return _shrink(image)


def write(digits: str, ink: str, ground: tuple[int, int, int]) -> Picture:
    """The picture `[64, 64, 3]` of a number in the middle, a patch's width to the digit."""
    image = _canvas(ground)
    font = ImageFont.load_default(FONT_SIZE * SCALE)
    pen = ImageDraw.Draw(image)
    for place, digit in enumerate(digits):
        x = SIZE / 2 + (place - (len(digits) - 1) / 2) * PATCH
        pen.text((x * SCALE, SIZE / 2 * SCALE), digit, PALETTE[ink], font, "mm", stroke_width=SCALE)
    return _shrink(image)


def _stands(a: Point, b: Point, relation: str) -> bool:
    """Whether a is clearly `relation` b: straight, not diagonally."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    reach = {"left of": (dx, dy), "right of": (-dx, dy), "above": (dy, dx), "below": (-dy, dx)}
    along, across = reach[relation]
    return along >= APART and across == 0


@cache
def _placements(count: int, relation: str | None) -> tuple[tuple[Point, ...], ...]:
    """All choices of `count` centres that are apart, the first two in the asked relation."""
    grid = list(itertools.product(SPOTS, SPOTS))
    return tuple(
        centres
        for centres in itertools.permutations(grid, count)
        if all(math.dist(a, b) >= APART for a, b in itertools.combinations(centres, 2))
        and (relation is None or _stands(centres[0], centres[1], relation))
    )


def _kinds(rng: np.random.Generator, scene: Scene) -> list[tuple[str, str]]:
    """(shape, colour) of each shape; colours that the scene leaves open are drawn unlike."""
    spare = [str(name) for name in rng.permutation(list(PALETTE))]
    named = [thing.color or spare[k] for k, thing in enumerate(scene.things)]
    return [(t.shape, c) for t, c in zip(scene.things, named, strict=True) for _ in range(t.count)]


def place(rng: np.random.Generator, scene: Scene) -> list[Mark]:
    """Marks for a scene: apart, of one size, and in the asked relation."""
    kinds = _kinds(rng, scene)
    choices = _placements(len(kinds), scene.relation)
    centres = choices[int(rng.integers(len(choices)))]
    size = float(rng.choice(DIAMETERS))
    return [
        Mark(shape, color, x, y, size)
        for (shape, color), (x, y) in zip(kinds, centres, strict=True)
    ]


def draw(rng: np.random.Generator, scene: Scene) -> Picture:
    """A random picture `[64, 64, 3]` that the scene's caption describes."""
    ground = _background(rng)
    if scene.digits is None:
        return paint(place(rng, scene), ground)
    return write(scene.digits, INKS[int(rng.integers(len(INKS)))], ground)
