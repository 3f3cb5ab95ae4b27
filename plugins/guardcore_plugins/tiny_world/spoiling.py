"""Ways to spoil a picture, each as much as anybody would see.

A spoiler takes a random generator, the picture and another one, ``[64, 64, 3]`` each, and returns
a new picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from guardcore_plugins.tiny_world.drawing import SIZE, Picture
from guardcore_plugins.tiny_world.scenes import PALETTE

Spoiler = Callable[[np.random.Generator, Picture, Picture], Picture]

VISIBLE = 1.5  # mean change of a pixel, of 255, below which nothing counts as spoilt


def _noise(rng: np.random.Generator, picture: Picture, _: Picture) -> Picture:
    deviation = rng.uniform(20, 80)  # of 255
    return _clipped(picture + rng.normal(0, deviation, picture.shape))


def _blur(rng: np.random.Generator, picture: Picture, _: Picture) -> Picture:
    radius = float(rng.uniform(1.5, 5))  # pixels
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))


def _jpeg(rng: np.random.Generator, picture: Picture, _: Picture) -> Picture:
    file = BytesIO()
    Image.fromarray(picture).save(file, format="JPEG", quality=int(rng.integers(2, 20)))
    return np.asarray(Image.open(file))


def _ghost(rng: np.random.Generator, picture: Picture, other: Picture) -> Picture:
    share = rng.uniform(0.25, 0.6)
    return _clipped((1 - share) * picture + share * other)


def _pasted(rng: np.random.Generator, picture: Picture, other: Picture) -> Picture:
    result = picture.copy()
    block = _block(rng)
    result[block] = other[block]
    return result


def _erased(rng: np.random.Generator, picture: Picture, _: Picture) -> Picture:
    result = picture.copy()
    result[_block(rng)] = picture[0, 0]
    return result


def _blobs(rng: np.random.Generator, picture: Picture, _: Picture) -> Picture:
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    for _spot in range(int(rng.integers(1, 4))):
        x, y = rng.integers(0, SIZE, 2)
        across, down = rng.integers(4, 11, 2)  # half axes, pixels
        color = PALETTE[str(rng.choice(list(PALETTE)))]
        pen.ellipse((int(x - across), int(y - down), int(x + across), int(y + down)), fill=color)
    return np.asarray(image)


def _grid(rng: np.random.Generator, picture: Picture, _: Picture) -> Picture:
    period, strength = int(rng.choice((2, 4, 8))), rng.uniform(12, 40)  # pixels; of 255
    rows, columns = np.indices((SIZE, SIZE)) // (period // 2)
    return _clipped(picture + strength * (2 * ((rows + columns) % 2) - 1)[..., None])


SPOILERS: Mapping[str, Spoiler] = {
    "noise": _noise,
    "blur": _blur,
    "jpeg": _jpeg,
    "ghost": _ghost,
    "pasted": _pasted,
    "erased": _erased,
    "blobs": _blobs,
    "grid": _grid,
}


def spoil(rng: np.random.Generator, picture: Picture, other: Picture) -> tuple[str, Picture]:
    """Spoil a picture in a random way, visibly; return the way's name and the new picture."""
    while True:
        kind = str(rng.choice(list(SPOILERS)))
        result = SPOILERS[kind](rng, picture, other)
        if np.abs(result.astype(float) - picture).mean() >= VISIBLE:
            return kind, result


def _clipped(values: np.ndarray) -> Picture:
    levels: Picture = np.rint(values).clip(0, 255).astype(np.uint8)
    return levels


def _block(rng: np.random.Generator) -> tuple[slice, slice]:
    """A rectangle of 12 to 32 pixels a side, somewhere in the picture."""
    height, width = rng.integers(12, 33, 2)
    top, left = rng.integers(0, SIZE - height + 1), rng.integers(0, SIZE - width + 1)
    return slice(top, top + height), slice(left, left + width)
