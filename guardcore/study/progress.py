"""How far a study has come, as its runs' files say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from guardcore.errors import GuardcoreError
from guardcore.report.facts import seconds
from guardcore.report.read import read_run
from guardcore.study.directory import StudyDirectory
from guardcore.study.grid import Cell


@dataclass(frozen=True)
class Progress:
    """How far a cell has come.

    Attributes:
        cell: The cell.
        iteration: The last finished iteration; None where nothing has been written.
        seconds: What its iterations took.
        finished: Whether nothing is left to do.
        error: Why it failed when it was last run, or cannot be read; None where neither.
    """

    cell: Cell
    iteration: int | None
    seconds: float
    finished: bool
    error: str | None

    @property
    def left(self) -> int:
        """Iterations still to do."""
        return 0 if self.finished else self.cell.config.train.iterations - (self.iteration or 0)


def progress(study: StudyDirectory, cell: Cell) -> Progress:
    """Return how far a cell has come."""
    path = study.run(cell.name)
    if not (path / "config.yaml").is_file():
        return Progress(cell, None, 0.0, finished=False, error=None)
    try:
        run = read_run(path)
    except GuardcoreError as error:
        return Progress(cell, None, 0.0, finished=False, error=str(error))
    enough = run.warned_off or run.iteration >= cell.config.train.iterations
    done = enough and run.directory.adapter.is_dir()
    return Progress(cell, run.iteration, seconds(run), finished=done, error=run.error)


def seconds_left(found: Sequence[Progress]) -> float | None:
    """Return what is still to do, at the pace so far; None where nothing has run."""
    done = sum(one.iteration or 0 for one in found)
    spent = sum(one.seconds for one in found)
    return spent / done * sum(one.left for one in found) if done else None
