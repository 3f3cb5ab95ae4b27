"""Pictures of scenes: anti-aliased shapes on a light ground, 64 pixels square.

The shapes' outlines live here, in a unit box from -1 to 1, y downwards; the reader makes its
templates from the same outlines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from guardcore_plugins.tiny_world.scenes import PALETTE, Scene

SIZE = 64  # pixels
SCALE = 4  # supersampling
MARGIN = 3.0  # pixels to the border
GAP = 5.0  # pixels between two shapes
RING = 0.5  # inner radius of a ring, as a share of the outer
ARM = 0.36  # half width of a cross's arm
# Diameters in pixels by the number of shapes: what fits without crowding.
DIAMETERS = {1: (25.0, 34.0), 2: (20.0, 26.0), 3: (17.0, 21.0), 4: (16.0, 19.0)}
INKS = ("black", "blue", "red", "purple")  # colours in which digits stay legible
FONT_SIZES = {2: 42, 3: 34, 4: 26}  # pixels, by number of digits

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
    base = int(rng.integers(232, 249))
    red, green, blue = np.clip(base + rng.integers(-7, 8, 3), 0, 255)
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


def write(digits: str, ink: str, ground: tuple[int, int, int], shift: Point) -> Picture:
    """The picture `[64, 64, 3]` of a number, centred but for a shift in pixels."""
    image = _canvas(ground)
    font = ImageFont.load_default(FONT_SIZES[len(digits)] * SCALE)
    centre = (SIZE / 2 + shift[0]) * SCALE, (SIZE / 2 + shift[1]) * SCALE
    pen = ImageDraw.Draw(image)
    pen.text(centre, digits, PALETTE[ink], font, "mm", stroke_width=SCALE)
    return _shrink(image)


def _apart(a: Mark, b: Mark) -> bool:
    reach = (a.diameter + b.diameter) / 2 + GAP
    return max(abs(a.x - b.x), abs(a.y - b.y)) >= reach


def _stands(a: Mark, b: Mark, relation: str) -> bool:
    """Whether a is clearly `relation` b: the other axis differs at most 0.4 as much."""
    dx, dy = a.x - b.x, a.y - b.y
    along, across = (dx, dy) if relation in ("left of", "right of") else (dy, dx)
    signed = -along if relation in ("left of", "above") else along
    return signed >= (a.diameter + b.diameter) / 2 + GAP and abs(across) <= 0.4 * signed


def _fits(marks: list[Mark], relation: str | None) -> bool:
    pairs = [(a, b) for i, a in enumerate(marks) for b in marks[:i]]
    if not all(_apart(a, b) for a, b in pairs):
        return False
    return relation is None or _stands(marks[0], marks[1], relation)


def _kinds(rng: np.random.Generator, scene: Scene) -> list[tuple[str, str]]:
    """(shape, colour) of each shape; colours that the scene leaves open are drawn unlike."""
    spare = [str(name) for name in rng.permutation(list(PALETTE))]
    named = [thing.color or spare[k] for k, thing in enumerate(scene.things)]
    return [(t.shape, c) for t, c in zip(scene.things, named, strict=True) for _ in range(t.count)]


def place(rng: np.random.Generator, scene: Scene) -> list[Mark]:
    """Marks for a scene, by rejection: inside the margins, apart, and in the asked relation."""
    kinds = _kinds(rng, scene)
    low, high = DIAMETERS[len(kinds)]
    while True:
        size = float(rng.uniform(low, high))
        room = MARGIN + size * 0.525  # a triangle is 5 % wider than its diameter
        spots = rng.uniform(room, SIZE - room, (len(kinds), 2))
        marks = [
            Mark(shape, color, float(x), float(y), size)
            for (shape, color), (x, y) in zip(kinds, spots, strict=True)
        ]
        if _fits(marks, scene.relation):
            return marks


def draw(rng: np.random.Generator, scene: Scene) -> Picture:
    """A random picture `[64, 64, 3]` that the scene's caption describes."""
    ground = _background(rng)
    if scene.digits is None:
        return paint(place(rng, scene), ground)
    ink = INKS[int(rng.integers(len(INKS)))]
    shift = rng.uniform(-1.5, 1.5, 2)
    return write(scene.digits, ink, ground, (float(shift[0]), float(shift[1])))
