"""What a tiny-world picture looks like, in fourteen numbers that don't ask what it shows.

They see what training on a learnt score breaks: the ground's colour and flatness, colours that
are not in the palette or change within a shape, halos, soft edges, and shapes that are torn,
joined or out of place.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from guardcore_plugins.tiny_world.drawing import PATCH, Picture
from guardcore_plugins.tiny_world.reader import COLORS, TOLERANCE, ground

Mask = npt.NDArray[np.bool_]
Levels = npt.NDArray[np.float32]
Box = tuple[slice, ...]

GRAIN: Mapping[str, float] = {
    "brightness": 1.0,  # of the ground; all levels and colour distances are of 255
    "tint": 1.0,  # the ground's range over its channels
    "stain": 1.0,  # RMS distance of the bare ground to its own colour
    "noise": 0.25,  # RMS second difference of the bare ground
    "ink": 0.01,  # share of the pixels
    "stray": 7.5,  # RMS distance of ink to the nearest colour of the palette
    "uneven": 5.0,  # deviation of the colour within the most uneven part
    "halo": 0.25,  # log of 1 + the faint pixels for each pixel around the ink
    "slope": 0.01,  # along the outlines, a pixel, as a share of the ink's height over the ground
    "low": 0.5,  # height of the lowest part, in pixels
    "high": 0.5,  # of the highest
    "narrow": 0.5,  # width of the narrowest part, in pixels
    "wide": 0.5,  # of the widest
    "off": 0.25,  # from a part's middle to where shapes and digits stand, at most, in pixels
}
"""The statistics, and the deviation in each that counts as nothing."""

FAINT = 10.0  # distance to the ground from which a pixel is not of the ground any more
CHECKERS = np.outer([1, -2, 1], [1, -2, 1]) / 6  # of length 1: white noise keeps its deviation


def describe(picture: Picture) -> npt.NDArray[np.float64]:
    """Return the statistics of ``picture [H, W, 3]``, in the order of ``GRAIN``."""
    pixels = picture.astype(np.float32)
    color = ground(pixels)
    distance = np.sqrt(((pixels - color) ** 2).sum(-1))
    ink = distance > TOLERANCE
    parts, _ = ndimage.label(ink, np.ones((3, 3)))
    found = {
        "brightness": float(color.mean()),
        "tint": float(np.ptp(color)),
        **_bare(pixels, distance, ~_grown(ink, 3)),
        **_ink(pixels, ink, parts),
        **_outlines(pixels.mean(-1), float(color.mean()), distance, ink),
        **_boxes(ndimage.find_objects(parts)),
    }
    return np.array([found[name] for name in GRAIN])


def _bare(pixels: Levels, distance: Levels, bare: Mask) -> dict[str, float]:
    """How flat the ground is, away from the ink."""
    ripples = ndimage.convolve(pixels.mean(-1), CHECKERS)
    return {"stain": _rms(distance[bare]), "noise": _rms(ripples[bare])}


def _ink(pixels: Levels, ink: Mask, parts: npt.NDArray[np.integer]) -> dict[str, float]:
    """How much ink there is, and whether each part has one colour, of the palette."""
    inside = _shrunk(ink, 2)
    offsets = pixels[inside][:, None] - COLORS  # [pixels, colours, 3]
    stray = np.sqrt((offsets**2).sum(-1).min(1))
    parts = parts * inside
    spreads = [pixels[parts == part].var(0).sum() for part in np.unique(parts[inside])]
    return {
        "ink": float(ink.mean()),
        "stray": _rms(stray),
        "uneven": float(np.sqrt(max(spreads, default=0.0))),
    }


def _outlines(grey: Levels, ground: float, distance: Levels, ink: Mask) -> dict[str, float]:
    """How the ink ends: with a halo, steep or soft. 0 without ink."""
    if not ink.any():
        return {"halo": 0.0, "slope": 0.0}
    faint = (distance > FAINT) & ~ink
    down, across = np.gradient(grey)
    rim = _grown(ink, 2) & ~_shrunk(ink, 2)
    height = max(float(np.abs(grey - ground)[ink].mean()), 1.0)
    return {
        "halo": float(np.log1p(faint.sum() / max(int((_grown(ink, 1) & ~ink).sum()), 1))),
        "slope": float(np.hypot(down, across)[rim].mean()) / height,
    }


def _boxes(boxes: list[Box]) -> dict[str, float]:
    """The parts' smallest and largest extents, and how far out of place they are."""
    heights = [rows.stop - rows.start for rows, _ in boxes] or [0]
    widths = [columns.stop - columns.start for _, columns in boxes] or [0]
    # An even number of digits stands between the middles of patches.
    off = [max(_off(rows, PATCH), _off(columns, PATCH / 2)) for rows, columns in boxes]
    return {
        "low": min(heights),
        "high": max(heights),
        "narrow": min(widths),
        "wide": max(widths),
        "off": max(off, default=0.0),
    }


def _off(extent: slice, period: float) -> float:
    middle = (extent.start + extent.stop) / 2
    return float(abs(middle - period * round(middle / period)))


def _grown(mask: Mask, pixels: int) -> Mask:
    grown: Mask = ndimage.binary_dilation(mask, iterations=pixels)
    return grown


def _shrunk(mask: Mask, pixels: int) -> Mask:
    shrunk: Mask = ndimage.binary_erosion(mask, iterations=pixels)
    return shrunk


def _rms(values: npt.NDArray[np.floating]) -> float:
    """Return the root of the mean square; 0 of nothing."""
    return float(np.sqrt((values**2).mean())) if values.size else 0.0
