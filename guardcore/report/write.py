"""From run directories to ``report.html`` and ``figures/*.png``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from guardcore.errors import GuardcoreError
from guardcore.report.canvas import Plot, png, style
from guardcore.report.groups import group_runs
from guardcore.report.page import render, sections
from guardcore.report.read import RecordedRun, read_run


def write_report(directories: Sequence[Path], out: Path | None = None) -> Path:
    """Write a page on one run, or on several side by side; return where it is.

    Args:
        directories: Run directories; one that is named twice counts once.
        out: The page, its ``figures/`` beside it. By default ``report.html`` in the directory of
            a single run, and in the current one for several.

    Raises:
        GuardcoreError: A directory is not a run, a file is damaged, or the page cannot be written.
    """
    runs = [read_run(path) for path in {path.resolve(): path for path in directories}.values()]
    target = out or (runs[0].directory.report if len(runs) == 1 else Path("report.html"))
    if target.is_dir():
        raise GuardcoreError(f"{target} is a directory; give a file, e.g. {target / 'report.html'}")
    page, drawings = _draw(runs)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        figures = target.parent / "figures"
        figures.mkdir(exist_ok=True)
        for name, content in drawings.items():
            _replace(figures / f"{name}.png", content)
        _replace(target, page.encode())
    except OSError as error:
        raise GuardcoreError(
            f"cannot write {error.filename or target}: {error.strerror or error}; choose another "
            "--out"
        ) from error
    return target


def _draw(runs: Sequence[RecordedRun]) -> tuple[str, dict[str, bytes]]:
    """Return the page, and the figures as PNG by name."""
    groups = group_runs(runs)
    with style():
        parts = sections(groups)
        plots = [plot for part in parts for plot in part.plots]
        return render(groups, parts), _pictures(plots)


def _pictures(plots: Sequence[Plot]) -> dict[str, bytes]:
    """Return the plots as PNG; a name that is taken gets a number."""
    found: dict[str, bytes] = {}
    for plot in plots:
        taken = [name for name in found if name == plot.name or name.startswith(f"{plot.name}.")]
        found[f"{plot.name}.{len(taken) + 1}" if taken else plot.name] = png(plot.figure)
    return found


def _replace(path: Path, content: bytes) -> None:
    """Write a whole file or none: aside, then renamed over."""
    aside = path.with_name(f".{path.name}.writing")
    aside.write_bytes(content)
    os.replace(aside, path)  # noqa: PTH105 - the same call as Path.replace, atomic on every system
