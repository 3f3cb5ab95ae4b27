"""From the command line to a validated config."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardcore.layers import Overrides, parse_config, read_yaml

if TYPE_CHECKING:
    from guardcore.config import RunConfig


def embedded_profile() -> dict[str, Any]:
    """Return the config of the tiny model that ships with GuardCore."""
    return read_yaml(Path(str(files("guardcore_plugins.tiny_world") / "embedded.yaml")))


def config_tree(source: Path | None) -> dict[str, Any]:
    """Return the config of a YAML file, of a run directory, or the embedded one."""
    if source is None:
        return embedded_profile()
    return read_yaml(source / "config.yaml" if source.is_dir() else source)


def load_config(source: Path | None, overrides: Overrides) -> RunConfig:
    """Return the validated config with the overrides over it."""
    return parse_config(overrides.over(config_tree(source)))
