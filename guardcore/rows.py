"""JSON, an object a line: what a run appends an iteration, and cuts when it goes back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from guardcore.errors import GuardcoreError
from guardcore.writing import append, replace


def append_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows, an object a line.

    Raises:
        GuardcoreError: They could not be written.
    """
    append(path, [json.dumps(_finite(row), allow_nan=False) for row in rows])


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the whole rows; a torn last line is left out.

    Raises:
        GuardcoreError: A line before the last is damaged.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    return [_row(path, number, line) for number, line in enumerate(lines, 1)]


def cut_rows(path: Path, iteration: int) -> None:
    """Drop every row after ``iteration``; below 0 drops all.

    Raises:
        GuardcoreError: A line is damaged, or the file could not be written.
    """
    if path.is_file():
        kept = [row for row in read_rows(path) if row["iteration"] <= iteration]
        replace(path, "".join(json.dumps(row) + "\n" for row in kept))


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row: dict[str, Any] = json.loads(line)
        row["iteration"]
    except (ValueError, KeyError, TypeError) as error:
        raise GuardcoreError(
            f"{path}: line {number} is damaged; put back a copy, or remove the line"
        ) from error
    return row


def _finite(value: Any) -> Any:
    """Replace what JSON has no word for by null, in a row and in its lists."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
