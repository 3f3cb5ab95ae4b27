"""The preprocessing of a CLIP, in torch, on a batch, on any device.

Exactly the reference's pixels, which PIL makes an image at a time: images become bytes first,
and PIL resizes in two passes, across and then down, with weights of 22 binary digits, rounding to
bytes after each. One pass in float32 differs from that by up to a tenth of the range at edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

BICUBIC = 3
"""PIL's number."""

_PRECISION = 2.0**22
"""PIL's weights are integers over this."""


@dataclass(frozen=True)
class Preprocessing:
    """Resize, centre crop, normalise.

    Attributes:
        size: Shortest edge, or (height, width), in pixels; None leaves the size alone.
        crop: (height, width) in pixels; None crops nothing.
        scale: Multiplies bytes; 1/255 as a rule.
        mean: Subtracted, a colour each.
        std: Then divided by, a colour each.
    """

    size: int | tuple[int, int] | None
    crop: tuple[int, int] | None
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, processor: Any) -> Preprocessing:
        """Read off an image processor of transformers.

        Raises:
            ValueError: It resizes in another way than bicubically.
        """
        if processor.do_resize and processor.resample != BICUBIC:
            raise ValueError(f"expected bicubic resizing (3), received {processor.resample!r}")
        normal = processor.do_normalize
        return cls(
            size=_size(dict(processor.size)) if processor.do_resize else None,
            crop=_height_width(dict(processor.crop_size)) if processor.do_center_crop else None,
            scale=processor.rescale_factor if processor.do_rescale else 1.0,
            mean=tuple(processor.image_mean) if normal else (0.0, 0.0, 0.0),
            std=tuple(processor.image_std) if normal else (1.0, 1.0, 1.0),
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Return float32 pixels ``[B, 3, h, w]`` of ``images [B, 3, H, W]`` in [0, 1]."""
        levels = (images.detach().float().clamp(0, 1) * 255).round()
        if self.size is not None:
            levels = resize(levels, *_target(self.size, *levels.shape[-2:]))
        if self.crop is not None:
            levels = _centre(levels, *self.crop)
        mean, std = (levels.new_tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (self.scale * levels - mean) / std


def resize(levels: Tensor, height: int, width: int) -> Tensor:
    """Resize whole levels from 0 to 255 ``[B, 3, H, W]`` as PIL's bicubic filter does."""
    rows, columns = levels.shape[-2:]
    if (rows, columns) == (height, width):
        return levels
    # float64, because a level of 8 digits times a weight of 22 does not fit into float32
    across = _rounded(levels.double() @ _weights(columns, width).to(levels.device).T)
    return _rounded(_weights(rows, height).to(levels.device) @ across).to(levels.dtype)


@lru_cache(maxsize=64)
def _weights(old: int, new: int) -> Tensor:
    """The filter from ``old`` to ``new`` pixels, ``[new, old]``: torch's kernel, PIL's digits."""
    unit = torch.eye(old, dtype=torch.float64)[None, None]
    kernel = functional.interpolate(unit, size=(new, old), mode="bicubic", antialias=True)[0, 0]
    return kernel.sign() * (kernel.abs() * _PRECISION + 0.5).floor() / _PRECISION


def _rounded(values: Tensor) -> Tensor:
    """Round halves up, as PIL does; ``round`` would take them to the even level."""
    return (values + 0.5).floor().clamp(0, 255)


def _target(size: int | tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """The size to resize to; a shortest edge keeps the aspect, the long edge rounded down."""
    if isinstance(size, tuple):
        return size
    long = int(size * max(height, width) / min(height, width))
    return (size, long) if height <= width else (long, size)


def _centre(levels: Tensor, height: int, width: int) -> Tensor:
    rows, columns = levels.shape[-2:]
    if rows < height or columns < width:
        raise ValueError(f"cannot crop {height} x {width} pixels out of {rows} x {columns}")
    top, left = (rows - height) // 2, (columns - width) // 2
    return levels[..., top : top + height, left : left + width]


def _size(size: dict[str, int]) -> int | tuple[int, int]:
    edge = size.get("shortest_edge")
    return _height_width(size) if edge is None else edge


def _height_width(size: dict[str, int]) -> tuple[int, int]:
    keys: Sequence[str] = ("height", "width")
    if any(key not in size for key in keys):
        raise ValueError(f"expected a size as shortest_edge or height and width, received {size}")
    return size["height"], size["width"]
