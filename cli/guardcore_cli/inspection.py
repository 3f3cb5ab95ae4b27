"""``guardcore plugins inspect``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guardcore_cli import parameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from guardcore.inspection import Inspection
    from guardcore.option_fields import OptionField

_SHORT = 20
"""Characters of a default; a longer one stands in the YAML block alone."""


def inspect(
    kind: Annotated[str, typer.Argument(help="E.g. ratio-transform.")],
    name: Annotated[str, typer.Argument(help="Short name or distribution:name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    without: parameters.Without = None,
) -> None:
    """Show one component: what it does, its options, how to name it, where it is."""
    from guardcore.inspection import inspected
    from guardcore.plugins import PluginHost

    registry = PluginHost.on_demand().registry
    component = inspected(registry.find(kind, name), registry)
    if as_json:
        typer.echo(json.dumps(asdict(component), ensure_ascii=False))
        return
    from rich.console import Console

    _show(component, Console())


def plain(text: str) -> str:
    """Return a docstring's text without the marks around code."""
    return text.replace("``", "")


def _show(component: Inspection, console: Console) -> None:
    from rich.text import Text

    kind = component.kind.replace("_", "-")
    console.print(Text.assemble((component.qualified, "bold"), f" {component.version} · {kind}"))
    console.print(Text(plain(component.docstring)))
    if component.options:
        console.print()
        console.print(_options_table(component.options))
    _show_snippets(component, console)
    console.print(Text("\nfrom", style="bold"))
    for line in _origin(component):
        console.print(Text(line), soft_wrap=line == component.homepage)
    where = f"{component.file}:{component.line}" if component.line else component.file
    console.print(Text(where or f"module {component.module}"), soft_wrap=True)


def _options_table(options: Sequence[OptionField]) -> Any:
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(
        "option",
        Column("type", max_width=26, overflow="fold"),
        "default",
        Column("description", overflow="fold", ratio=1),
        box=None,
        pad_edge=False,
    )
    for option in options:
        kind = ", ".join(filter(None, [option.type, option.constraints]))
        default = option.default if len(option.default) <= _SHORT else "as below"
        shown = "required" if option.required else default
        table.add_row(*map(Text, (option.name, kind, shown, option.description)))
    return table


def _show_snippets(component: Inspection, console: Console) -> None:
    """Print what can be pasted: not wrapped, not indented, without markup."""
    from rich.text import Text

    blocks = {
        "in a config": component.config,
        "or in its own words": component.spelled_out,
        "on the command line": component.command_line,
    }
    for title, block in blocks.items():
        if block:
            console.print(Text(f"\n{title}", style="bold"))
            console.print(Text(block.rstrip("\n")), soft_wrap=True)


def _origin(component: Inspection) -> list[str]:
    about = f": {component.summary}" if component.summary else ""
    homepage = [component.homepage] if component.homepage else []
    return [f"{component.distribution} {component.version}{about}", *homepage]
