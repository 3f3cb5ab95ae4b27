"""A sheet of images with their captions: the quickest judgement of a model there is."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

_TILE = 128
"""Shortest side of a tile in pixels; smaller images are enlarged by whole factors."""
_LINE = 14
_FONT_SIZE = 11


def save_grid(path: Path, images: Tensor, captions: Sequence[str], columns: int = 6) -> None:
    """Write images ``[B, 3, H, W]`` in [0, 1] as one PNG, a caption below each."""
    from PIL import Image, ImageDraw, ImageFont

    tiles = [_tile(image) for image in images]
    width, height = tiles[0].size
    lines = [textwrap.wrap(caption, max(8, width // 6))[:3] for caption in captions]
    cell = height + _LINE * max(len(line) for line in lines) + 12
    rows = -(-len(tiles) // columns)
    columns = min(columns, len(tiles))
    sheet = Image.new("RGB", (columns * (width + 8) + 8, rows * cell + 8), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE)
    for place, tile in enumerate(tiles):
        left, top = 8 + place % columns * (width + 8), 8 + place // columns * cell
        sheet.paste(tile, (left, top))
        text = "\n".join(lines[place])
        pen.multiline_text((left, top + height + 2), text, fill="#333", font=font, spacing=2)
    sheet.save(path)


def _tile(image: Tensor) -> Image:
    from PIL import Image

    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous()
    height, width = pixels.shape[:2]
    picture = Image.frombytes("RGB", (width, height), bytes(pixels.flatten().tolist()))
    factor = max(1, -(-_TILE // min(height, width)))
    return picture.resize((width * factor, height * factor), Image.Resampling.NEAREST)
