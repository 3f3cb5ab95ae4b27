"""An exact reader of the tiny world's pictures: which shape, where, in which colour, how clean.

No network: shapes are what differs from the ground, split into connected parts; a part's colour
is the nearest of the palette, its kind the outline that covers it best. It works on its own
pictures only: flat shapes that don't touch, on a light plain ground.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage
from torch import Tensor

from guardcore_plugins.rewards.geneval import Detection
from guardcore_plugins.tiny_world.drawing import outlines
from guardcore_plugins.tiny_world.scenes import PALETTE, PLURALS

FRAME = 2  # pixels at the border that show the ground
TOLERANCE = 55.0  # RGB distance to the ground below which a pixel is ground
SPECK = 24  # pixels; smaller parts are dirt, not shapes
STRAY = 90.0  # RGB distance to the palette above which a colour has no name
WORST, BEST = 0.65, 0.84  # overlaps that score 0 and 1
SUPERSAMPLING = 8

Array = npt.NDArray[np.float32]
COLORS = np.array(list(PALETTE.values()), dtype=np.float32)


def read(images: Tensor) -> list[list[Detection]]:
    """The shapes in images `[B, 3, H, W]` in [0, 1], each list by falling score."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"expected images [B, 3, H, W], got {tuple(images.shape)}")
    pixels = images.detach().float().clamp(0, 1).permute(0, 2, 3, 1).mul(255).cpu().numpy()
    return [_read_one(picture) for picture in pixels]


def ground(picture: Array) -> Array:
    """The median colour `[3]` of the frame."""
    inner = (slice(FRAME, -FRAME), slice(FRAME, -FRAME))
    frame = np.ones(picture.shape[:2], dtype=bool)
    frame[inner] = False
    ground: Array = np.median(picture[frame], axis=0)
    return ground


def _read_one(picture: Array) -> list[Detection]:
    offset = picture - ground(picture)
    distance = np.sqrt((offset * offset).sum(-1))
    parts, _ = ndimage.label(distance > TOLERANCE, np.ones((3, 3)))
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(parts), 1):
        window = (rows, columns)
        inside = parts[window] == number
        if int(inside.sum()) >= SPECK:
            found.append(_detect(picture, offset, distance, window, inside))
    return sorted(found, key=lambda detection: -detection.score)


def _detect(
    picture: Array,
    offset: Array,
    distance: Array,
    window: tuple[slice, slice],
    inside: npt.NDArray[np.bool_],
) -> Detection:
    """One connected part as a detection."""
    far = distance[window][inside]
    core = far >= 0.85 * np.quantile(far, 0.9)  # fully covered pixels, not the soft edge
    shade = np.median(offset[window][inside][core], axis=0)
    cover = (offset[window] @ shade) / max(float(shade @ shade), 1.0)
    shape = (cover > 0.5) & inside
    mask, (top, left) = _trim(shape if shape.any() else inside)  # empty where colours cancel out
    label, overlap = _match(mask)
    y, x = window[0].start + top, window[1].start + left
    box = (float(x), float(y), float(x + mask.shape[1]), float(y + mask.shape[0]))
    color = _name(np.median(picture[window][inside][core], axis=0))
    score = float(np.clip((overlap - WORST) / (BEST - WORST), 0.0, 1.0))
    return Detection(label=label, box=box, score=score, color=color)


def _trim(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.bool_], tuple[int, int]]:
    """The mask without empty rows and columns around it, and how many went at the top and left."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    trimmed = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return trimmed, (int(rows[0]), int(columns[0]))


def _name(color: Array) -> str | None:
    distance = np.sqrt(((COLORS - color) ** 2).sum(-1))
    nearest = int(distance.argmin())
    return list(PALETTE)[nearest] if distance[nearest] < STRAY else None


def _match(mask: npt.NDArray[np.bool_]) -> tuple[str, float]:
    """The best shape and its intersection over union with the mask."""
    overlaps = {shape: _overlap(mask, _template(shape, *mask.shape)) for shape in PLURALS}
    best = max(overlaps, key=lambda shape: overlaps[shape])
    return best, overlaps[best]


def _overlap(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    return float((a & b).sum() / max(1, int((a | b).sum())))


@cache
def _template(shape: str, height: int, width: int) -> npt.NDArray[np.bool_]:
    """The shape's mask `[height, width]`, filling that box."""
    lines = [np.array(outline) for outline in outlines(shape)]
    low, high = lines[0].min(0), lines[0].max(0)
    size = np.array([width, height]) * SUPERSAMPLING
    image = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING), 0)
    pen = ImageDraw.Draw(image)
    for fill, line in zip((255, 0), lines, strict=False):
        points = (line - low) / (high - low) * size
        pen.polygon([(float(x), float(y)) for x, y in points], fill=fill)
    return np.asarray(image.reduce(SUPERSAMPLING)) > 127
