"""Checkpoints: safetensors and JSON, written aside and renamed, with checksums.

A directory ``checkpoints/iteration-NNNNNN`` is whole or it is not there; so is one of
``recordings/``, which has the same form. One that was damaged later is set aside in ``damaged/``,
never removed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from guardcore.errors import CheckpointError
from guardcore.learner import Learner, State
from guardcore.writing import sync

_log = logging.getLogger("guardcore")
_NAME = re.compile(r"iteration-(\d{6,})")
_STATE = "state.json"
_REMOVING = ".removing"


@dataclass(frozen=True)
class Checkpoint:
    """One whole checkpoint on disk."""

    path: Path
    iteration: int

    def load(self) -> tuple[State, dict[str, Any]]:
        """Return its tensors by file, and its counters.

        Raises:
            CheckpointError: A file is missing or its checksum differs.
        """
        counters = self.counters()
        return {name: self.tensors(name) for name in self._files()}, counters

    def counters(self) -> dict[str, Any]:
        """Return its counters alone."""
        with self._sound(_STATE):
            counters: dict[str, Any] = self._record()["counters"]
            return counters

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return one file's tensors."""
        file = f"{name}.safetensors"
        with self._sound(file):
            if _sha256(self.path / file) != self._files()[name]:
                raise CheckpointError(f"{self.path / file} has been altered")
            return load_file(self.path / file)

    def _files(self) -> Mapping[str, str]:
        with self._sound(_STATE):
            files: Mapping[str, str] = self._record()["sha256"]
            return {**files}

    def _record(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.path / _STATE).read_text(encoding="utf-8"))
        if record.pop("checksum") != _digest(record):
            raise CheckpointError(f"{self.path / _STATE} has been altered")
        return record

    @contextmanager
    def _sound(self, file: str) -> Iterator[None]:
        """Inside, whatever a damaged file leads to is an error that names it."""
        try:
            yield
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise CheckpointError(f"{self.path / file} is damaged ({reason})") from error


def save(
    directory: Path,
    iteration: int,
    state: State,
    counters: Mapping[str, Any],
    keep: int,
    best: int | None = None,
) -> Checkpoint:
    """Write a checkpoint, then prune.

    Raises:
        CheckpointError: It could not be written; those before it are untouched.
    """
    written = write(directory, iteration, state.items(), counters)
    found = find(directory)
    for later in (c for c in found if c.iteration > iteration):  # nothing whole can be later
        _set_aside(later)
    prune(directory, keep, best)
    return written


def prune(directory: Path, keep: int, best: int | None = None) -> None:
    """Remove all checkpoints but the newest ``keep`` and that of iteration ``best``.

    And what is left of one whose removal was cut off.
    """
    shutil.rmtree(directory.parent / _REMOVING, ignore_errors=True)
    for old in (c for c in find(directory)[:-keep] if c.iteration != best):
        _remove(old)


def write(
    directory: Path,
    iteration: int,
    files: Iterable[tuple[str, Mapping[str, Tensor]]],
    counters: Mapping[str, Any],
) -> Checkpoint:
    """Write one whole directory below ``directory``; each file is asked for when it is written.

    Raises:
        CheckpointError: It could not be written; nothing else is touched.
    """
    target = directory / f"iteration-{iteration:06d}"
    aside = directory.parent / ".writing"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        directory.mkdir(exist_ok=True)
        _write(aside, iteration, files, counters)
        if target.exists():  # nothing whole can be there
            _set_aside(Checkpoint(target, iteration))
        aside.rename(target)
        sync(directory)
    except Exception as error:  # safetensors reports a full disk as its own error
        shutil.rmtree(aside, ignore_errors=True)
        raise CheckpointError(
            f"cannot write {target}: {error}; mend that and go on with --resume, the checkpoints "
            "before it are untouched"
        ) from error
    return Checkpoint(target, iteration)


def find(directory: Path) -> list[Checkpoint]:
    """Return the checkpoints below ``directory``, the newest last."""
    if not directory.is_dir():
        return []
    matches = [(path, _NAME.fullmatch(path.name)) for path in directory.iterdir()]
    found = [Checkpoint(path, int(match[1])) for path, match in matches if match]
    return sorted(found, key=lambda checkpoint: checkpoint.iteration)


@dataclass(frozen=True)
class Restored:
    """What a run goes on from; from nothing at all, iteration −1."""

    iteration: int = -1
    state: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    counters: Mapping[str, Any] = field(default_factory=dict)


def restore(learner: Learner, directory: Path) -> Restored:
    """Load the newest whole checkpoint into ``learner``; return it, if there is one.

    Damaged ones are set aside, with a warning.
    """
    everything = find(directory)
    for found in reversed(everything):
        try:
            state, counters = found.load()
            learner.load(state, counters)
        except CheckpointError as error:
            before = "beginning" if found is everything[0] else "one before"
            _log.warning(
                "%s; set aside as %s, going back to the %s", error, _set_aside(found), before
            )
            continue
        return Restored(found.iteration, state, counters)
    return Restored()


def _write(
    aside: Path,
    iteration: int,
    files: Iterable[tuple[str, Mapping[str, Tensor]]],
    counters: Mapping[str, Any],
) -> None:
    checksums = {}
    for name, tensors in files:
        path = aside / f"{name}.safetensors"
        save_file(dict(tensors), path)
        sync(path)
        checksums[name] = _sha256(path)
    record = {"format": 1, "iteration": iteration, "counters": counters, "sha256": checksums}
    path = aside / _STATE
    path.write_text(json.dumps({**record, "checksum": _digest(record)}, indent=1), "utf-8")
    sync(path)
    sync(aside)


def drop_after(directory: Path, iteration: int) -> None:
    """Remove what is later than ``iteration``."""
    for found in find(directory):
        if found.iteration > iteration:
            _remove(found)


def _remove(found: Checkpoint) -> None:
    """Take a checkpoint out of sight in one step, then remove it."""
    aside = found.path.parent.parent / _REMOVING
    shutil.rmtree(aside, ignore_errors=True)
    found.path.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _set_aside(found: Checkpoint) -> Path:
    """Move a damaged checkpoint to where it can be looked at; return where that is."""
    folder = found.path.parent.parent / "damaged" / found.path.parent.name
    folder.mkdir(parents=True, exist_ok=True)
    numbered = (folder / f"{found.path.name}.{number}" for number in count(1))
    target = next(path for path in numbered if not path.exists())
    found.path.rename(target)
    return target


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
