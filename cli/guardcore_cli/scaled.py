"""How an iteration scales, for a person: with its settings, and over processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

    from guardcore.bench.result import Result


def print_scaled(console: Console, results: Mapping[str, Result]) -> None:
    """Print a table of the settings and one of the processes, where any was measured.

    Args:
        console: Where to.
        results: What was measured, by the config's name.
    """
    if any(result.scaling for result in results.values()):
        console.print()
        console.print(_scaling(results))
        console.print("one iteration each; beside them the config as it is")
        _print_lines(console, _untimed(results))
    if any(result.processes for result in results.values()):
        console.print()
        console.print(_processes(results))
        _print_lines(console, _remarks(results))


def _print_lines(console: Console, lines: Iterator[str]) -> None:
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _scaling(results: Mapping[str, Result]) -> Table:
    table = Table("model", "setting", box=None, pad_edge=False)
    for title in ("value", "s an iteration", "images/s"):
        table.add_column(title, justify="right")
    for name, result in results.items():
        model = escape(name)
        for setting, rows in groupby(result.scaling, key=lambda row: row.setting):
            for row in rows:
                figures = _figure(row.seconds, ".2f"), _figure(row.images_per_second, ".1f")
                table.add_row(model, setting, str(row.value), *figures)
                model = setting = ""
    return table


def _untimed(results: Mapping[str, Result]) -> Iterator[str]:
    for name, result in results.items():
        for row in result.scaling:
            if row.seconds is None:
                why = row.reason or "out of memory"
                yield f"{name}: {row.setting} {row.value} not timed: {why}"


def _processes(results: Mapping[str, Result]) -> Table:
    table = Table("model", box=None, pad_edge=False)
    titles = (
        "processes",
        "threads",
        "s an iteration",
        "images/s",
        "speed-up",
        "efficiency",
        "waited",
    )
    for title in titles:
        table.add_column(title, justify="right")
    for name, result in results.items():
        model = escape(name)
        for row in result.processes:
            threads = "" if row.threads is None else str(row.threads)
            table.add_row(
                model,
                str(row.processes),
                threads,
                _figure(row.seconds, ".2f"),
                _figure(row.images_per_second, ".1f"),
                _figure(row.speedup, ".2f"),
                _figure(row.efficiency, ".0%"),
                _figure(row.waiting_share, ".1%"),
            )
            model = ""
    return table


def _remarks(results: Mapping[str, Result]) -> Iterator[str]:
    """Say what makes the rows less than they might be."""
    for name, result in results.items():
        for row in result.processes:
            who = f"{name} in {row.processes} processes"
            if row.seconds is None:
                yield f"{who} not timed: {row.reason}"
            if row.idle:
                yield f"{who}: {row.idle} of them have nothing to do; lower rollout.batch_size"
            wanted, there = row.processes * (row.threads or 0), result.machine.processors
            if there is not None and wanted > there:
                yield f"{who}: {wanted} threads on {there} processors"


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
