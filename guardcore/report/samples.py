"""Held-out samples before and after, prompt by prompt, on the same noise."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guardcore.grid import read_grid
from guardcore.report.groups import Group
from guardcore.report.read import RecordedRun

if TYPE_CHECKING:
    from PIL.Image import Image

_log = logging.getLogger("guardcore")
_LOSSLESS = 160
"""Longest side, in pixels, up to which a tile is kept as it is; larger ones become JPEGs."""
_LONGEST = 320
_MOST = 24
"""Prompts shown of a single run; several share them."""


@dataclass(frozen=True)
class Tile:
    """One image: what it is, its scores in words, its pixels as a data URI."""

    title: str
    scores: str
    uri: str


@dataclass(frozen=True)
class Comparison:
    """One prompt's images."""

    prompt: str
    tiles: tuple[Tile, ...]


def comparisons(groups: Sequence[Group]) -> list[Comparison]:
    """Return the prompts that the first run of every group has sampled, with the images.

    An image that an earlier run of the page has too, as the base model's often is, is shown once.
    """
    sheets = [sheet for group in groups for sheet in _sheets(group, len(groups) > 1)]
    if not sheets:
        return []
    prompts = sheets[0].prompts
    alike = [sheet for sheet in sheets if sheet.prompts == prompts]
    shown = prompts[: max(6, _MOST // max(1, len(alike) // 2))]
    return [_compare(place, prompt, alike) for place, prompt in enumerate(shown)]


@dataclass(frozen=True)
class _Sheet:
    """One evaluation's grid: its prompts, tiles and scores."""

    title: str
    prompts: tuple[str, ...]
    tiles: tuple[Image, ...]
    scores: Mapping[str, Sequence[float]]


def _sheets(group: Group, several: bool) -> list[_Sheet]:
    run = group.runs[0]
    evaluated = sorted(run.evaluations)
    ends = list(dict.fromkeys([*evaluated[:1], *evaluated[-1:]]))
    found = [(number, _read(run, number)) for number in ends]
    sheets = []
    for iteration, tiles in found:
        if tiles:
            title = "base model" if iteration == 0 else f"iteration {iteration}"
            name = f"{group.label}, {title}" if several and iteration else title
            record: Mapping[str, Any] = run.evaluations[iteration]
            prompts = tuple(record["prompts"][: len(tiles)])
            sheets.append(_Sheet(name, prompts, tuple(tiles), record["scores"]))
    return sheets


def _read(run: RecordedRun, iteration: int) -> list[Image]:
    """Return a grid's tiles; none where there is no grid, or it cannot be read."""
    path = run.directory.samples / f"iteration-{iteration:06d}.png"
    captions = run.evaluations[iteration]["prompts"][: int(run.config["evaluate"]["grid"])]
    if not captions or not path.is_file():
        return []
    try:
        return read_grid(path, captions)
    except (OSError, ValueError) as error:
        _log.warning("%s cannot be read, so the report leaves it out: %s", path, error)
        return []


def _compare(place: int, prompt: str, sheets: Sequence[_Sheet]) -> Comparison:
    tiles: dict[str, Tile] = {}
    for sheet in sheets:
        uri = _uri(sheet.tiles[place])
        scores = ", ".join(f"{values[place]:.3g}" for values in sheet.scores.values())
        tiles.setdefault(f"{sheet.title} {uri}", Tile(sheet.title, scores, uri))
    return Comparison(prompt, tuple(tiles.values()))


def _uri(tile: Image) -> str:
    buffer = io.BytesIO()
    if max(tile.size) <= _LOSSLESS:
        tile.save(buffer, "PNG")
        return data_uri(buffer.getvalue(), "image/png")
    small = tile.copy()
    small.thumbnail((_LONGEST, _LONGEST))
    small.save(buffer, "JPEG", quality=88)
    return data_uri(buffer.getvalue(), "image/jpeg")


def data_uri(content: bytes, kind: str) -> str:
    """Return bytes as a URI that needs no network."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
