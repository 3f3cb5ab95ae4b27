"""A study for a person: what is running, what came of it, the tables."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from guardcore.report.words import duration, number, plural
from guardcore.study.progress import Progress, progress, seconds_left

if TYPE_CHECKING:
    from guardcore.report.tables import Table as Result
    from guardcore.study import Cell, StudyDirectory
    from guardcore.study.running import Ended


_WIDTH = 120
"""Columns of the tables where standard error is no terminal."""


class Display:
    """A line a cell that is over; above the running one's own display a title.

    All to standard error, as a cell's tracker may have standard output.
    """

    def __init__(self, directory: StudyDirectory, cells: Sequence[Cell]) -> None:
        self._directory = directory
        self._cells = list(cells)
        self._console = Console(stderr=True)
        if not self._console.is_terminal:
            self._console.width = _WIDTH
        self._begun = time.monotonic()

    def begin(self, states: Sequence[Progress]) -> None:
        """Say what there is to do."""
        done = sum(state.finished for state in states)
        left = seconds_left(states)
        more = f", {done} of them finished" if done else ""
        about = f"; about {_roughly(left)} to go" if left else ""
        self._say(f"{plural(len(states), 'run')} in {self._directory.path}{more}{about}")

    def title(self, cell: Cell) -> str:
        """Return what stands above a cell's own display."""
        left = seconds_left([progress(self._directory, one) for one in self._cells])
        spent = duration(round(time.monotonic() - self._begun))
        about = f", about {_roughly(left)} to go" if left else ""
        return f"{self._place(cell)} · {spent} so far{about}"

    def ended(self, one: Ended) -> None:
        """Say how a cell ended, in a line."""
        if one.how == "finished":
            self._say(f"{self._place(one.cell)}: {self._result(one.cell)}")
        elif one.how == "elsewhere":
            self._say(f"{self._place(one.cell)}: another process is at it")
        elif one.how == "failed":
            self._say(f"{self._place(one.cell)}: failed: {one.reason}", "red")

    def tables(self, found: Sequence[Result]) -> None:
        """Print the tables."""
        for result in found:
            table = Table("", box=None, pad_edge=False, header_style="bold")
            for title in result.columns:
                table.add_column(title, justify="right")
            for row in result.rows:
                table.add_row(escape(row.label), *map(escape, row.cells))
            self._console.print()
            self._console.print(result.title, style="bold")
            self._console.print(table)
            self._console.print(result.note, style="dim", markup=False, highlight=False)

    def places(self) -> None:
        """Say where everything is."""
        self._console.print()
        for title, place in (
            ("tables:", self._directory.markdown),
            ("report:", self._directory.report),
            ("runs:  ", self._directory.runs),
        ):
            if place.exists():
                self._say(f"{title} {place}")

    def _place(self, cell: Cell) -> str:
        return f"run {self._cells.index(cell) + 1} of {len(self._cells)}, {cell.name}"

    def _result(self, cell: Cell) -> str:
        """Return how long a finished cell took, and its scores before → after."""
        from guardcore.report.measures import measures
        from guardcore.report.read import read_run

        found = measures(read_run(self._directory.run(cell.name)))
        scores = [key for key in ("proxy", "gold") if key in found]
        parts = [f"{k} {number(found[f'{k}_before'])} → {number(found[k])}" for k in scores]
        return ", ".join([duration(found["seconds"]), *parts])

    def _say(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def print_list(states: Sequence[Progress]) -> None:
    """Print the cells and how far each has come, to standard output."""
    console = Console()
    table = Table("run", "iterations", "time", "", box=None, pad_edge=False, header_style="bold")
    for state in states:
        of = state.cell.config.train.iterations
        spent = duration(state.seconds) if state.seconds else ""
        table.add_row(
            escape(state.cell.name), f"{state.iteration or 0} of {of}", spent, _how(state)
        )
    console.print(table)
    left, waiting = seconds_left(states), sum(not state.finished for state in states)
    about = f", about {_roughly(left)}" if left else ""
    console.print(f"{plural(waiting, 'run')} to do{about}", highlight=False)


def _roughly(seconds: float) -> str:
    """Return a duration in two digits: it is a guess."""
    return duration(float(f"{seconds:.2g}"))


def _how(state: Progress) -> str:
    if state.finished:
        return "finished"
    if state.error is not None:
        return escape(f"failed: {state.error}")
    return "not begun" if state.iteration is None else "to be gone on with"
