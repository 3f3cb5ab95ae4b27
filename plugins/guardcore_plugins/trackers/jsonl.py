"""Metrics as JSON lines for other programs; the run directory has its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Jsonl:
    """Writes ``{"iteration": n, …}`` a line; images are left out."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("a", encoding="utf-8") if path else None

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Write one line."""
        row = {"iteration": step, **values}
        finite = {
            k: None if isinstance(v, float) and not isfinite(v) else v for k, v in row.items()
        }
        print(json.dumps(finite), file=self._file or sys.stdout, flush=True)

    def images(self, step: int, name: str, images: Tensor, captions: Sequence[str]) -> None:
        """Leave images to others."""

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file:
            self._file.close()
