"""The live display of a run, on standard error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console as RichConsole
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from torch import Tensor

_RECENT = 8
"""Iterations kept in view."""


Row = tuple[int, Mapping[str, float]]


class Console:
    """A progress bar over iterations, one over the phase at hand, and the last few figures.

    Where standard error is no terminal, one plain line an iteration.

    Args:
        title: A line above it all. With one, the display is gone when the run is over.
    """

    def __init__(self, title: str = "") -> None:
        self._console = RichConsole(stderr=True)
        self._title = title
        if title and not self._console.is_terminal:
            self._console.print(title, highlight=False, markup=False, soft_wrap=True)
        self._rows: list[Row] = []
        self._evaluations: list[Row] = []
        self._bars = Progress(
            TextColumn("{task.description:>9}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            expand=True,
        )
        self._run = self._bars.add_task("train", total=None, start=False)
        self._phase = self._bars.add_task("", total=None, start=False)
        self._live: Live | None = None

    def progress(self, phase: str, done: int, total: int) -> None:
        """Move a bar."""
        self._open()
        task = self._run if phase == "train" else self._phase
        self._bars.update(task, description=phase, completed=done, total=total)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Show an iteration's figures."""
        self._open()
        if any(name.startswith("eval/") for name in values):
            self._evaluations = [*self._evaluations[:1], (step, values)]
        if step > 0:
            self._rows = [*self._rows, (step, values)][-_RECENT:]
        if self._live is None:
            self._console.print(_line(step, values), highlight=False, markup=False, soft_wrap=True)
        else:
            self._live.update(self._render())

    def images(self, step: int, name: str, images: Tensor, captions: Sequence[str]) -> None:
        """Leave images to the run directory."""

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self._live is not None:
            self._bars.update(self._phase, visible=False)
            self._live.update(self._render(), refresh=True)
            self._live.stop()

    def _open(self) -> None:
        if self._live is None and self._console.is_terminal:
            self._bars.start_task(self._run)  # a model that loads for minutes is not the run's time
            self._bars.start_task(self._phase)
            self._live = Live(
                self._render(),
                console=self._console,
                refresh_per_second=4,
                transient=bool(self._title),
            )
            self._live.start()

    def _render(self) -> RenderableType:
        title = [Text(self._title, style="bold")] if self._title else []
        if not self._rows:
            return Group(*title, self._bars)
        phases = _phases(self._rows[-1][1])
        return Group(*title, _table(self._rows), phases, *_held_out(self._evaluations), self._bars)


_COLUMNS = {
    "ratio/mean": "ratio − 1",
    "ratio/std": "±",
    "clip/low": "clip low",
    "clip/high": "high",
    "seconds/total": "time",
}


def _table(rows: Sequence[Row]) -> Table:
    """Return the figures of the last iterations."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    rewards = sorted({name for _, values in rows for name in values if name.startswith("reward/")})
    shown = {name: name.removeprefix("reward/") for name in rewards} | _COLUMNS
    table.add_column("iteration", justify="right")
    for title in shown.values():
        table.add_column(escape(title), justify="right", no_wrap=True)
    for step, values in rows:
        table.add_row(str(step), *(_cell(name, values) for name in shown))
    return table


def _phases(values: Mapping[str, float]) -> str:
    """Return where the last iteration's time went, the longest phase first."""
    seconds = {
        name.removeprefix("seconds/"): value
        for name, value in values.items()
        if name.startswith("seconds/") and name != "seconds/total" and value >= 0.05
        if name.count("/") == 1  # a reward's own seconds lie beside the others
    }
    parts = sorted(seconds.items(), key=lambda item: -item[1])
    return "time: " + ", ".join(f"{name} {value:.1f} s" for name, value in parts)


def _held_out(evaluations: Sequence[Row]) -> list[Text]:
    """Return a line on the held-out scores: the first and the last."""
    if not evaluations:
        return []
    (_, before), (step, now) = evaluations[0], evaluations[-1]
    scores = [
        f"{name.removeprefix('eval/')} {value:.3f} (at first {before[name]:.3f})"
        for name, value in now.items()
        if name.startswith("eval/")
    ]
    return [Text(f"held-out after iteration {step}: " + ", ".join(scores))]


def _cell(name: str, values: Mapping[str, float]) -> str:
    value = values.get(name)
    if value is None:
        return ""
    if name == "ratio/mean":
        return f"{value - 1:+.1e}"
    if name == "ratio/std":
        return f"{value:.1e}"
    if name.startswith("clip/"):
        return f"{value:.0%}"
    return f"{value:.1f} s" if name.startswith("seconds/") else f"{value:.3f}"


def _line(step: int, values: Mapping[str, float]) -> str:
    scores = [name for name in values if name.startswith(("reward/", "eval/"))]
    shown = {name: name.replace("/", " ") for name in sorted(scores)} | _COLUMNS
    parts = [f"{title} {_cell(name, values)}" for name, title in shown.items() if name in values]
    return f"iteration {step}: " + ", ".join(parts)
