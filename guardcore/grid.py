"""A sheet of images with their captions: the quickest judgement of a model there is."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

_TILE = 128
"""Shortest side of a tile in pixels; smaller images are enlarged by whole factors."""
_COLUMNS = 6
_GAP = 8
_LINE = 14
_FONT_SIZE = 11


@dataclass(frozen=True)
class _Layout:
    """Where the tiles of a sheet lie: ``columns`` of them, ``width × height`` pixels each."""

    columns: int
    width: int
    height: int
    caption: int

    def corner(self, place: int) -> tuple[int, int]:
        """Return the left and upper edge of a tile."""
        row, column = divmod(place, self.columns)
        return _GAP + column * (self.width + _GAP), _GAP + row * (self.height + self.caption)


def save_grid(path: Path, images: Tensor, captions: Sequence[str], columns: int = _COLUMNS) -> None:
    """Write images ``[B, 3, H, W]`` in [0, 1] as one PNG, a caption below each."""
    from PIL import Image, ImageDraw, ImageFont

    tiles = [_tile(image) for image in images]
    width, height = tiles[0].size
    lines = _wrapped(captions, width)
    layout = _Layout(min(columns, len(tiles)), width, height, _caption_height(lines))
    rows = -(-len(tiles) // columns)
    size = layout.columns * (width + _GAP) + _GAP, rows * (height + layout.caption) + _GAP
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE)
    for place, tile in enumerate(tiles):
        left, top = layout.corner(place)
        sheet.paste(tile, (left, top))
        text = "\n".join(lines[place])
        pen.multiline_text((left, top + height + 2), text, fill="#333", font=font, spacing=2)
    sheet.save(path)


def read_grid(path: Path, captions: Sequence[str]) -> list[Image]:
    """Return the tiles of a sheet that ``save_grid`` wrote with these captions and six columns."""
    from PIL import Image

    with Image.open(path) as sheet:
        sheet.load()
    columns = min(_COLUMNS, len(captions))
    rows = -(-len(captions) // _COLUMNS)
    width = (sheet.width - _GAP) // columns - _GAP
    caption = _caption_height(_wrapped(captions, width))
    height = (sheet.height - _GAP) // rows - caption
    layout = _Layout(columns, width, height, caption)
    corners = [layout.corner(place) for place in range(len(captions))]
    return [sheet.crop((x, y, x + width, y + height)) for x, y in corners]


def _wrapped(captions: Sequence[str], width: int) -> list[list[str]]:
    """Return the lines of each caption, three at most, below a tile of ``width`` pixels."""
    return [textwrap.wrap(caption, max(8, width // 6))[:3] for caption in captions]


def _caption_height(lines: Sequence[Sequence[str]]) -> int:
    return _LINE * max(len(line) for line in lines) + 12


def _tile(image: Tensor) -> Image:
    from PIL import Image

    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous()
    height, width = pixels.shape[:2]
    picture = Image.frombytes("RGB", (width, height), bytes(pixels.flatten().tolist()))
    factor = max(1, -(-_TILE // min(height, width)))
    return picture.resize((width * factor, height * factor), Image.Resampling.NEAREST)
