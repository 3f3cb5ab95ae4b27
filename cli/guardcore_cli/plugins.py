"""``guardcore plugins list | inspect | doctor | new``."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guardcore_cli import doctor, inspection, listing, new, parameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guardcore.registry import Registered

app = typer.Typer(help="What is installed, and a package for what isn't yet.", no_args_is_help=True)


@app.command("list")
def list_components(
    kind: Annotated[str | None, typer.Argument(help="Only this kind, e.g. reward.")] = None,
    no_import: Annotated[
        bool,
        typer.Option(
            "--no-import", help="List plugins from metadata alone; no module of theirs is imported."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    without: parameters.Without = None,
) -> None:
    """List every component with its origin, and every plugin that did not load."""
    if no_import:
        listing.list_plugins(kind, as_json)
        return
    from guardcore.kinds import check_kind
    from guardcore.plugins import PluginHost

    host = PluginHost.discover()
    wanted = check_kind(kind) if kind else None
    entries = [entry for entry in host.registry if wanted in (None, entry.kind)]
    if as_json:
        rows = [_row(entry) for entry in entries]
        typer.echo(json.dumps({"components": rows, **listing.plain(host)}))
        return
    from rich.console import Console

    console = Console()
    console.print(_table(entries))
    listing.show_problems(host, console)


def _table(entries: Sequence[Registered]) -> Any:
    """Return a table with a heading a kind."""
    from rich.table import Table
    from rich.text import Text

    table = Table("name", "from", "description", box=None, pad_edge=False)
    for kind, components in groupby(entries, key=lambda entry: entry.kind):
        table.add_row(Text(kind.replace("_", "-"), style="bold"))
        for entry in components:
            origin = f"{entry.origin.distribution} {entry.origin.version}"
            description = Text(inspection.plain(entry.description))
            table.add_row(f"  {entry.name}", Text(origin, style="dim"), description)
    return table


def _row(entry: Registered) -> dict[str, str]:
    return {
        "kind": entry.kind,
        "name": entry.name,
        "qualified": entry.qualified,
        "distribution": entry.origin.distribution,
        "version": entry.origin.version,
        "module": entry.origin.module,
        "description": entry.description,
    }


app.command("inspect")(inspection.inspect)
app.command("doctor")(doctor.doctor)
app.command("new")(new.new)
