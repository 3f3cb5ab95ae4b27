"""From the command line to a validated config."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardcore.errors import GuardcoreError, did_you_mean
from guardcore.layers import Overrides, laid_over, parse_config, read_yaml

if TYPE_CHECKING:
    from guardcore.config import RunConfig

EMBEDDED = "tiny-sd3"
"""The profile that a command takes with no config given."""


def embedded_profile() -> dict[str, Any]:
    """Return the config of the tiny model that ships with GuardCore."""
    return read_yaml(_file(Path(EMBEDDED)))


def config_tree(sources: Sequence[Path]) -> dict[str, Any]:
    """Return the configs, each laid over the one before; without any, the embedded one.

    Each is a YAML file, a run directory, or the name of a profile that ships with GuardCore.
    """
    if not sources:
        return embedded_profile()
    tree: dict[str, Any] = {}
    for source in sources:
        tree = laid_over(tree, read_yaml(_file(source)))
    return tree


def load_config(sources: Sequence[Path], overrides: Overrides) -> RunConfig:
    """Return the validated config with the overrides over it."""
    return parse_config(overrides.over(config_tree(sources)))


def _file(source: Path) -> Path:
    if source.is_dir():
        return source / "config.yaml"
    if source.exists() or source.name != str(source) or source.suffix:
        return source
    from guardcore_plugins.profiles import profiles

    known = profiles()
    if source.name not in known:
        hint = did_you_mean(source.name, known) or f"; profiles: {', '.join(known)}"
        raise GuardcoreError(f"no file, run or profile is called {source.name!r}{hint}")
    return known[source.name]
