"""A study's directory: ``study.json``, ``runs/``, the tables, the page.

Several processes may work in it at once. So a cell is claimed before it runs, and whatever is
about the whole study is made from the files that are there, and written whole.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardcore.errors import GuardcoreError
from guardcore.report.read import RecordedRun, read_run
from guardcore.study.base import differing
from guardcore.study.grid import Grid, names

if TYPE_CHECKING:
    from filelock import FileLock

_log = logging.getLogger("guardcore")


class StudyDirectory:
    """Where a study lies on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / "study.json"
        self.runs = path / "runs"
        self.table = path / "table.json"
        self.markdown = path / "table.md"
        self.report = path / "report.html"
        self._locks = path / ".locks"

    def run(self, name: str) -> Path:
        """Return a cell's run directory."""
        return self.runs / name

    def stored(self) -> tuple[dict[str, Any], list[Grid]] | None:
        """Return the base and the grids that were asked for so far; None for a new study.

        Raises:
            GuardcoreError: Something else is here.
        """
        if not self.file.is_file():
            if self.path.exists() and (
                not self.path.is_dir() or any(p.name[0] != "." for p in self.path.iterdir())
            ):
                raise GuardcoreError(
                    f"{self.path} is not empty and holds no study; choose another --out"
                )
            return None
        try:
            found = json.loads(self.file.read_text(encoding="utf-8"))
            return found["base"], [_grid(grid) for grid in found["grids"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise GuardcoreError(
                f"{self.file} is damaged ({error!r}); put back a copy, or choose another --out"
            ) from error

    def check(self, base: Mapping[str, Any]) -> None:
        """Refuse another base than the study has.

        Raises:
            GuardcoreError: Naming what differs.
        """
        stored = self.stored()
        changed = differing(stored[0], base) if stored else []
        if changed:
            raise GuardcoreError(
                f"{self.path} has another base; these differ: {', '.join(changed)}; "
                "choose another --out"
            )

    def remember(self, base: Mapping[str, Any], grids: Sequence[Grid]) -> None:
        """Write down what is asked for, beside what others have asked for.

        Raises:
            GuardcoreError: The study has another base, or cannot be written.
        """
        try:
            self._locks.mkdir(parents=True, exist_ok=True)
            with self.alone("study"):
                self.check(base)
                stored = self.stored()
                earlier = stored[1] if stored else []
                all_grids = [*earlier, *(grid for grid in grids if grid not in earlier)]
                plain = {"base": dict(base), "grids": [_plain(grid) for grid in all_grids]}
                replace(self.file, json.dumps(plain, indent=1, ensure_ascii=False) + "\n")
        except OSError as error:
            raise GuardcoreError(
                f"cannot write {error.filename or self.path}: {error.strerror or error}"
            ) from error

    @contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        """Claim a cell, and say whether it was free; a process that dies frees its own."""
        from filelock import Timeout

        lock = self.alone(name)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def recorded(self) -> list[RecordedRun]:
        """Read the runs of all cells asked for so far, in the grids' order."""
        found = self.stored()
        directories = [self.run(name) for name in names(found[1])] if found else []
        runs = [self._read(path) for path in directories if (path / "config.yaml").is_file()]
        return [run for run in runs if run is not None]

    def _read(self, path: Path) -> RecordedRun | None:
        try:
            return read_run(path)
        except GuardcoreError as error:
            _log.warning("the table leaves a run out: %s", error)
            return None

    def alone(self, name: str) -> FileLock:
        """Return a lock: inside, no other process is inside the same one."""
        from filelock import FileLock

        return FileLock(self._locks / f"{name}.lock")


def replace(path: Path, text: str) -> None:
    """Write a whole file or none: aside, then renamed over."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.writing")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)  # noqa: PTH105 - the same call as Path.replace, atomic on every system


def _plain(grid: Grid) -> dict[str, Any]:
    return {"strategies": grid.strategies, "seeds": grid.seeds, "vary": dict(grid.vary)}


def _grid(plain: Mapping[str, Any]) -> Grid:
    vary = {path: tuple(values) for path, values in plain["vary"].items()}
    return Grid(tuple(plain["strategies"]), tuple(plain["seeds"]), vary)
