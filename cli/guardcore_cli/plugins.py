"""``guardcore plugins list | inspect``."""

from __future__ import annotations

import inspect as python_inspect
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from guardcore.registry import Registered

app = typer.Typer(help="What is installed.", no_args_is_help=True)


@app.command("list")
def list_components(
    kind: Annotated[str | None, typer.Argument(help="Only this kind, e.g. reward.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """List every component with its origin, and every plugin that did not load."""
    from guardcore.kinds import check_kind
    from guardcore.plugins import PluginHost

    host = PluginHost.discover()
    wanted = check_kind(kind) if kind else None
    entries = [entry for entry in host.registry if wanted in (None, entry.kind)]
    if as_json:
        problems = [str(problem) for problem in host.problems]
        typer.echo(json.dumps({"components": [_row(e) for e in entries], "problems": problems}))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("kind", "name", "from", "version", "description", box=None, pad_edge=False)
    previous = ""
    for entry in entries:
        row = _row(entry)
        shown = row["kind"] if row["kind"] != previous else ""
        previous = row["kind"]
        origin = entry.origin
        description = escape(entry.description)
        table.add_row(shown, entry.name, origin.distribution, origin.version, description)
    console = Console()
    console.print(table)
    for problem in host.problems:
        console.print(f"problem: {problem}", style="yellow", soft_wrap=True, markup=False)


@app.command()
def inspect(
    kind: Annotated[str, typer.Argument(help="E.g. ratio-transform.")],
    name: Annotated[str, typer.Argument(help="Short name or distribution:name.")],
) -> None:
    """Show one component: what it does, its options, where it is."""
    from rich.console import Console

    from guardcore.plugins import PluginHost
    from guardcore.spec import Strategy

    entry = PluginHost.discover().registry.find(kind, name)
    console = Console()
    console.print(f"[bold]{entry.qualified}[/] {entry.origin.version} · {entry.kind}")
    if isinstance(entry.factory, Strategy):
        console.print(entry.description, markup=False)
        console.print("ratio:", *entry.factory.ratio)
        console.print("gradient_weight:", *entry.factory.gradient_weight)
        return
    console.print(python_inspect.getdoc(entry.factory) or "", markup=False)
    console.print(f"defined in {entry.origin.module}", style="dim")
    console.print(_options_table(entry))


def _options_table(entry: Registered) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table("option", "type", "default", "description", box=None, pad_edge=False)
    for name, field in entry.options.model_fields.items():
        kind = getattr(field.annotation, "__name__", str(field.annotation))
        if not isinstance(field.annotation, type):
            kind = str(field.annotation).replace("typing.", "")
        default = "required" if field.is_required() else repr(field.default)
        table.add_row(*map(escape, (name, kind, default, field.description or "")))
    return table if table.rows else "no options"


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
