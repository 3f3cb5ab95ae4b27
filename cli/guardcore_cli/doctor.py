"""``guardcore plugins doctor``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guardcore_cli import parameters

if TYPE_CHECKING:
    from guardcore.doctor import Finding, Report


def doctor(
    distributions: Annotated[
        list[str] | None, typer.Argument(help="Only these, e.g. guardcore-warmth.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    without: parameters.Without = None,
) -> None:
    """Say what is wrong with the installed plugins, and what to do; exit code 1 on a failure."""
    from guardcore.doctor import examine

    report = examine(distributions or ())
    if as_json:
        typer.echo(json.dumps(_plain(report), ensure_ascii=False))
    else:
        _show(report)
    raise typer.Exit(0 if report.ok else 1)


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
