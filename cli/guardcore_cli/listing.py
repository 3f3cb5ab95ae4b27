"""``guardcore plugins list --no-import``, and what every list says of plugins that aren't there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from guardcore.plugins import PluginHost
    from guardcore.registry import Origin


def list_plugins(kind: str | None, as_json: bool) -> None:
    """List plugins from metadata alone.

    Raises:
        GuardcoreError: A kind is asked for, which only an import would tell.
    """
    from guardcore.errors import GuardcoreError
    from guardcore.plugins import PluginHost

    if kind:
        raise GuardcoreError(f"without an import no component is known; leave out {kind!r}")
    host = PluginHost.scan()
    if as_json:
        rows = [_row(origin) for origin in host.offers.origins()]
        typer.echo(json.dumps({"plugins": rows, **plain(host)}))
        return
    from rich.console import Console

    console = Console()
    console.print(_table(host.offers.origins()))
    show_problems(host, console)


def plain(host: PluginHost) -> dict[str, Any]:
    """Return what isn't there, and why, as plain data."""
    blocked = [
        {**_row(problem.origin), "reason": problem.reason, "remedy": problem.remedy}
        for problem in host.blocked()
    ]
    problems = [str(problem) for problem in host.problems if problem.check != "blocked"]
    return {"blocked": blocked, "problems": problems}


def show_problems(host: PluginHost, console: Console) -> None:
    """Print what isn't there, and why, a line each."""
    blocked = host.blocked()
    for problem in blocked:
        who = f"{problem.origin.key} (version {problem.origin.version}) is {problem.reason}"
        line = f"not imported: {who}; {problem.remedy}"
        console.print(line, style="dim", soft_wrap=True, markup=False)
    problems = [problem for problem in host.problems if problem not in blocked]
    for problem in problems:
        console.print(f"problem: {problem}", style="yellow", soft_wrap=True, markup=False)
    if problems:
        console.print("see 'guardcore plugins doctor'")


def _table(origins: Sequence[Origin]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table("distribution", "version", "plugin", "module", box=None, pad_edge=False)
    for origin in origins:
        table.add_row(*map(Text, _row(origin).values()))
    return table


def _row(origin: Origin) -> dict[str, str]:
    return {
        "distribution": origin.distribution,
        "version": origin.version,
        "plugin": origin.entry_point,
        "module": origin.module,
    }
