"""``guardcore config show | check | schema``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from guardcore_cli import parameters

if TYPE_CHECKING:
    from guardcore.config import RunConfig
    from guardcore.layers import Overrides

app = typer.Typer(help="Look at a config before anything runs.", no_args_is_help=True)


@app.command()
def show(
    config: parameters.Config = None,
    strategy: parameters.Strategy = None,
    assignments: parameters.Set = None,
    without: parameters.Without = None,
    debug: parameters.Debug = False,
) -> None:
    """Print the resolved config: every default, every qualified name."""
    import yaml

    from guardcore.binding import bind
    from guardcore.bound import resolved
    from guardcore.plugins import PluginHost

    settings = _load(config, strategy, assignments)
    binding = bind(settings, PluginHost.on_demand().registry)
    typer.echo(yaml.safe_dump(resolved(settings, binding), sort_keys=False, allow_unicode=True))


@app.command()
def check(
    config: parameters.Config = None,
    strategy: parameters.Strategy = None,
    assignments: parameters.Set = None,
    without: parameters.Without = None,
    debug: parameters.Debug = False,
) -> None:
    """Check a config; every problem at once, exit code 2 if there is any."""
    from guardcore.binding import bind
    from guardcore.plugins import PluginHost

    binding = bind(_load(config, strategy, assignments), PluginHost.on_demand().registry)
    for warning in binding.warnings:
        typer.echo(f"warning: {warning}")
    typer.echo("the config is sound")


@app.command()
def schema(without: parameters.Without = None) -> None:
    """Print the JSON schema of a config, with the options of every installed component."""
    from guardcore.plugins import PluginHost
    from guardcore.schema import config_schema

    typer.echo(json.dumps(config_schema(PluginHost.discover().registry), indent=1))


def _load(
    config: list[Path] | None, strategy: str | None, assignments: list[str] | None
) -> RunConfig:
    from guardcore.layers import Overrides
    from guardcore_cli.loading import load_config

    overrides: Overrides = Overrides(strategy=strategy, assignments=assignments or ())
    return load_config(config or (), overrides)
