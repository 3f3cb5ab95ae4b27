"""Running a study's cells, one after the other; what fails doesn't stop the others."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from guardcore.binding import bind
from guardcore.config import RunConfig
from guardcore.plugins import PluginHost
from guardcore.registry import Registry
from guardcore.study.directory import StudyDirectory
from guardcore.study.grid import Cell
from guardcore.study.progress import progress

_log = logging.getLogger("guardcore")


@dataclass(frozen=True)
class Ended:
    """How a cell ended.

    Attributes:
        cell: The cell.
        how: ``elsewhere``: another process is at it.
        reason: Why it failed, in a line.
        iteration: The last finished one.
        signal: What stopped it.
    """

    cell: Cell
    how: Literal["finished", "failed", "stopped", "elsewhere"]
    reason: str = ""
    iteration: int = 0
    signal: signal.Signals | None = None


def run_cells(
    study: StudyDirectory,
    cells: Sequence[Cell],
    host: PluginHost,
    title: Callable[[Cell], str] = lambda cell: cell.name,
    *,
    report: bool = True,
) -> Iterator[Ended]:
    """Run cells, and yield how each ended; after one that a signal stopped, no other begins.

    A cell that was begun goes on from its newest checkpoint; a finished one is left as it is.

    Args:
        study: Where.
        cells: What, in this order.
        host: The components, and whoever observes the runs.
        title: What a tracker with a ``title`` option shows above a cell's display.
        report: Write every run's own ``report.html``.
    """
    warnings = [warning for cell in cells for warning in bind(cell.config, host.registry).warnings]
    with _said_once(dict.fromkeys(warnings)):
        for cell in cells:
            with study.claimed(cell.name) as free:
                if not free:
                    ended = Ended(cell, "elsewhere")
                elif (state := progress(study, cell)).finished:  # by another process, meanwhile
                    ended = Ended(cell, "finished", iteration=state.iteration or 0)
                else:
                    ended = _run(study, cell, host, title(cell), report)
            yield ended
            if ended.how == "stopped":
                return


def _run(study: StudyDirectory, cell: Cell, host: PluginHost, title: str, report: bool) -> Ended:
    from guardcore.loop import train

    used = bind(cell.config, host.registry).distributions()
    try:
        outcome = train(
            _titled(cell.config, host.registry, title),
            study.run(cell.name),
            resume=True,
            registry=host.registry,
            observers=host.observers(used),
            report=report,
        )
    except Exception as error:
        return Ended(cell, "failed", " ".join(f"{type(error).__name__}: {error}".split()))
    if outcome.signal is not None:
        return Ended(cell, "stopped", iteration=outcome.iteration, signal=outcome.signal)
    return Ended(cell, "finished", iteration=outcome.iteration)


def _titled(config: RunConfig, registry: Registry, title: str) -> RunConfig:
    """Return the config with a title for the trackers that take one and have none."""
    tracker = tuple(
        spec.model_copy(update={"title": title})
        if "title" in registry.find("tracker", spec.use).options.model_fields
        and not spec.options.get("title")
        else spec
        for spec in config.tracker
    )
    return config.model_copy(update={"tracker": tracker})


@contextmanager
def _said_once(warnings: Collection[str]) -> Iterator[None]:
    """Say what the cells' configs are warned of now, and inside not again in every cell."""
    for warning in warnings:
        _log.warning(warning)

    def new(record: logging.LogRecord) -> bool:
        return record.getMessage() not in warnings

    _log.addFilter(new)
    try:
        yield
    finally:
        _log.removeFilter(new)
