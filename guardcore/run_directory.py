"""The run directory: what a run leaves behind, and what a resumed run goes on from."""

from __future__ import annotations

import contextlib
import json
import shutil
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from guardcore.altered import altered
from guardcore.errors import CheckpointError, GuardcoreError
from guardcore.lock import RunLock
from guardcore.manifest import Change, changes, component_records, manifest, resumptions
from guardcore.rows import append_rows, cut_rows, read_rows
from guardcore.writing import replace, sync, written

if TYPE_CHECKING:
    from guardcore.bound import Binding
    from guardcore.checkpoint import Checkpoint

_ROWS = ("metrics", "steps")


class RunDirectory:
    """``config.yaml``, ``manifest.json``, the JSONL files, ``samples/``, ``checkpoints/``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.manifest = path / "manifest.json"
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self.recordings = path / "recordings"
        self.adapter = path / "adapter"
        self.report = path / "report.html"
        self.error_log = path / "error.log"
        self._lock = RunLock(path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Inside, no other process writes here; a directory that is new is locked by ``open``.

        Raises:
            GuardcoreError: Another process does, with its name.
        """
        if self._holds_a_run():
            self._lock.take()
        try:
            yield
        finally:
            self._lock.give_back()

    def read_config(self) -> dict[str, Any]:
        """Return the resolved config, as it was written."""
        tree: dict[str, Any] = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        return tree

    def check(
        self, config: Mapping[str, Any], may_change: Collection[str] = (), *, resume: bool
    ) -> None:
        """Refuse to write over another run, or to go on with another config.

        Args:
            config: The resolved config.
            may_change: Config paths of component options that a resumed run may set anew.
            resume: Go on with the run that is here.

        Raises:
            GuardcoreError: Naming what is in the way.
        """
        if self.path.exists() and not self.path.is_dir():
            raise GuardcoreError(f"{self.path} is a file; choose another --out")
        if not self._holds_a_run():
            if self.path.is_dir() and _strangers(self.path):
                raise GuardcoreError(
                    f"{self.path} is not empty and holds no run; choose another --out"
                )
            return
        if not resume:
            raise GuardcoreError(
                f"{self.path} holds a run already; go on with --resume, or choose another --out"
            )
        changed = altered(self.read_config(), config, may_change)
        if changed:
            raise GuardcoreError(
                f"{self.path} was run with another config; these differ: {', '.join(changed)}"
            )

    def open(self, config: Mapping[str, Any], binding: Binding) -> None:
        """Create the directory and write what describes the run.

        Raises:
            GuardcoreError: It cannot be written, or another process was quicker.
        """
        self._claim()
        self._write_manifest(self._new_manifest(config, binding))
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        replace(self.config, text)  # the last of the two: with it the directory holds a run
        for folder in (self.samples, self.checkpoints):
            with written(folder):
                folder.mkdir(exist_ok=True)
        for log in (self.error_log, *self.path.glob("error-rank-*.log")):
            log.unlink(missing_ok=True)
        self.report.unlink(missing_ok=True)  # that of fewer iterations
        shutil.rmtree(self.adapter, ignore_errors=True)  # likewise
        for half_done in (".writing", ".removing", ".adapter.writing"):  # by a killed run
            shutil.rmtree(self.path / half_done, ignore_errors=True)

    def _holds_a_run(self) -> bool:
        return self.config.is_file() and self.manifest.is_file()

    def _claim(self) -> None:
        """Create the directory and lock it, unless it is locked already."""
        with written(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            if self._lock.held:
                return
            self._lock.take()
        if self._holds_a_run():
            raise GuardcoreError(
                f"{self.path} holds a run by now, begun by another process; choose another --out"
            )

    def write_calibrated(self, found: Mapping[str, Any]) -> None:
        """Write into the manifest the options that the run itself has found, by config path."""
        if not found:
            return
        self._write_manifest({**self._read_manifest(), "calibrated": found})

    def changes(self, binding: Binding) -> list[Change]:
        """Return whose files or version are others than when this run was last begun."""
        stored = self._read_manifest()
        return changes(stored, component_records(binding)) if stored else []

    def _new_manifest(self, config: Mapping[str, Any], binding: Binding) -> dict[str, Any]:
        """Return what describes the run from now on, with what has changed since it began."""
        before, found = self._read_manifest(), self.changes(binding)
        newest = self.newest() if found else None
        now = resumptions(found, newest.iteration if newest else 0)
        resumed = [*before.get("resumed", ()), *now]
        return manifest(config, binding) | ({"resumed": resumed} if resumed else {})

    def _read_manifest(self) -> dict[str, Any]:
        try:
            stored: dict[str, Any] = json.loads(self.manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # none yet; or a damaged one, which is written anew
            return {}
        return stored

    def _write_manifest(self, content: Mapping[str, Any]) -> None:
        replace(self.manifest, json.dumps(content, indent=1) + "\n")

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint."""
        from guardcore import checkpoint  # imports torch, which reading a run does without

        found = checkpoint.find(self.checkpoints)
        return found[-1] if found else None

    def checkpoint(self, iteration: int | None = None) -> Checkpoint:
        """Return a checkpoint, the newest by default.

        Raises:
            CheckpointError: There is no such checkpoint.
        """
        from guardcore import checkpoint  # likewise

        found = checkpoint.find(self.checkpoints)
        if iteration is not None:
            found = [c for c in found if c.iteration == iteration]
        if not found:
            wanted = "any" if iteration is None else iteration
            raise CheckpointError(f"{self.path}: no checkpoint (wanted: {wanted}); see checkpoints")
        return found[-1]

    def append(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows to ``metrics`` or ``steps``, a JSON object a line."""
        append_rows(self._rows(name), rows)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return the whole rows of ``metrics`` or ``steps``; a torn last line is left out."""
        return read_rows(self._rows(name))

    def sync(self) -> None:
        """Have all rows outlive a power failure; their checkpoint may then be written."""
        for name in _ROWS:
            with written(self._rows(name)):
                sync(self._rows(name))

    def cut_back(self, iteration: int) -> None:
        """Drop every row and recording after ``iteration``; below 0 drops all."""
        for name in _ROWS:
            cut_rows(self._rows(name), iteration)
        from guardcore import checkpoint  # likewise

        checkpoint.drop_after(self.recordings, iteration)

    def _rows(self, name: str) -> Path:
        return self.path / f"{name}.jsonl"

    def write_samples(self, iteration: int, record: Mapping[str, Any]) -> None:
        """Write an evaluation's prompts and scores."""
        replace(self.samples / f"iteration-{iteration:06d}.json", json.dumps(record, indent=1))

    def read_samples(self, iteration: int) -> dict[str, Any] | None:
        """Read an evaluation's prompts and scores; None where there is none."""
        path = self.samples / f"iteration-{iteration:06d}.json"
        record: dict[str, Any] | None = None
        if path.is_file():
            record = json.loads(path.read_text(encoding="utf-8"))
        return record

    def write_adapter(self, save: Callable[[Path], None]) -> None:
        """Have ``save`` write a directory aside, then rename it to ``adapter/``."""
        aside = self.path / ".adapter.writing"
        shutil.rmtree(aside, ignore_errors=True)
        with written(self.adapter):
            save(aside)
            aside.rename(self.adapter)

    def write_error(self, error: BaseException, rank: int = 0) -> None:
        """Write the full traceback to ``error.log``, if the disk takes it.

        That of another process than the main one goes to ``error-rank-N.log``.
        """
        text = "".join(traceback.format_exception(error))
        path = self.path / f"error-rank-{rank}.log" if rank else self.error_log
        with contextlib.suppress(GuardcoreError):
            replace(path, text)


def _strangers(directory: Path) -> list[Path]:
    """Return what a run that ended before it had a config does not leave.

    Its processes' logs only where it had the lock: another program may have an error.log, too.
    """
    logs = ("error.log", "error-rank-*.log") if (directory / ".lock").exists() else ()
    left = (".*", "manifest.json", *logs)
    return [path for path in directory.iterdir() if not any(map(path.match, left))]
