"""``guardcore plugins doctor``."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guardcore_cli import parameters

if TYPE_CHECKING:
    from guardcore.doctor import Finding, Report


def doctor(
    distributions: Annotated[
        list[str] | None, typer.Argument(help="Only these, e.g. guardcore-spread-clip.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    contracts: Annotated[
        bool,
        typer.Option(
            "--contracts/--no-contracts",
            help="Build third parties' components and try them on their contracts; those of "
            "guardcore where it is named. Downloads nothing, unless HF_HUB_OFFLINE=0.",
        ),
    ] = True,
    without: parameters.Without = None,
) -> None:
    """Say what is wrong with the installed plugins, and what to do; exit code 1 on a failure."""
    from guardcore.doctor import CHECKS, examine

    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a judge's default model may have gigabytes
    checks = {name: check for name, check in CHECKS.items() if contracts or name != "contract"}
    with _display() as telling:
        report = examine(distributions or (), checks=checks, telling=telling)
    if as_json:
        typer.echo(json.dumps(_plain(report), ensure_ascii=False))
    else:
        _show(report)
    raise typer.Exit(0 if report.ok else 1)


@contextlib.contextmanager
def _display() -> Iterator[Callable[[str], None]]:
    """Yield what shows, on a terminal's standard error, the component that is being checked."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stderr)  # this one, while a component's own prints are dropped
    if not console.is_terminal:
        yield lambda component: None
        return
    with console.status("looking at the installed plugins") as status:
        yield lambda component: status.update(Text(f"checking {component}"))


def _plain(report: Report) -> dict[str, Any]:
    return {
        "findings": [asdict(finding) for finding in report.findings],
        "plugins": [asdict(plugin) for plugin in report.plugins],
        "ok": report.ok,
    }


def _show(report: Report) -> None:
    from rich.console import Console

    console = Console()
    if report.findings:
        console.print(_table(report.findings))
        console.print()
    console.print(_summary(report))


def _table(findings: Sequence[Finding]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table("severity", "plugin", "finding → remedy", box=None, pad_edge=False)
    for finding in findings:
        style = "bold red" if finding.severity == "failure" else "yellow"
        who = f"{finding.distribution} {finding.version}\n{finding.plugin}"
        what = f"{finding.check}: {finding.reason}\n→ {finding.remedy}"
        table.add_row(Text(finding.severity, style=style), Text(who.strip()), Text(what))
    return table


def _summary(report: Report) -> str:
    """Return the closing line."""
    components = sum(plugin.components for plugin in report.plugins)
    looked_at = f"{_count(len(report.plugins), 'plugin')}, {_count(components, 'component')}"
    if not report.findings:
        return f"{looked_at}: no finding"
    failures = sum(finding.severity == "failure" for finding in report.findings)
    warnings = len(report.findings) - failures
    return f"{looked_at}: {_count(failures, 'failure')}, {_count(warnings, 'warning')}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
