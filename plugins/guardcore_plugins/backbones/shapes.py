"""The shapes of a diffusers pipeline, from its config files: no weights are read or fetched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from guardcore import GuardcoreError
from guardcore_plugins.backbones.quiet import first_line
from guardcore_plugins.backbones.source import locate

Shapes = Mapping[str, Mapping[str, Any]]
"""Component → its config, with the class under ``_class_name``."""

PUBLISHED = {
    "stabilityai/stable-diffusion-3.5-medium": "stable-diffusion-3.5-medium.yaml",
    "black-forest-labs/FLUX.1-dev": "FLUX.1-dev.yaml",
}
"""Hub names whose shapes are shipped: to plan for them needs no network and no licence."""

_CONFIGS = ("model_index.json", "*/config.json", "*/scheduler_config.json")


def shapes_of(model: str) -> Shapes:
    """Return the shapes of a directory, of a published model, or of a hub name's config files.

    Raises:
        GuardcoreError: A config file is missing or damaged, or the hub can't be reached.
    """
    directory = locate(model)
    if directory is None and model in PUBLISHED:
        folder = files("guardcore_plugins.backbones") / "published"
        shapes: Shapes = yaml.safe_load((folder / PUBLISHED[model]).read_text(encoding="utf-8"))
        return shapes
    directory = directory or _fetch_configs(model)
    try:
        return _read(directory)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise GuardcoreError(
            f"backbone.model: cannot read the config files of {directory}: {first_line(error)}"
        ) from error


def _read(directory: Path) -> Shapes:
    index = json.loads((directory / "model_index.json").read_text(encoding="utf-8"))
    shapes = {}
    for name, entry in index.items():
        if not isinstance(entry, list) or entry[0] is None:
            continue
        for file in ("config.json", "scheduler_config.json"):
            path = directory / name / file
            if path.is_file():
                config = json.loads(path.read_text(encoding="utf-8"))
                shapes[name] = {**config, "_class_name": entry[1]}
    return shapes


def _fetch_configs(model: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=list(_CONFIGS)))
    except Exception as error:  # OSError, httpx' and the hub client's own families
        raise GuardcoreError(
            f"backbone.model: cannot fetch the config files of {model!r} ({first_line(error)}); "
            f"give a local directory, or one of {', '.join(PUBLISHED)}, whose shapes are known here"
        ) from error
