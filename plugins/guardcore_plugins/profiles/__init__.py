"""Configs that ship with GuardCore: the paper's settings, and what fits one device of a size."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def profiles() -> dict[str, Path]:
    """Return the files by name: ``flux1dev-ocr``."""
    folder = Path(str(files(__name__)))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
