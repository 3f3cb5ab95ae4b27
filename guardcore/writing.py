"""Files that are whole or not there, and what is said where one cannot be written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from guardcore.errors import WriteError


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Inside, whatever the system refuses is one line that names ``path``.

    Raises:
        WriteError: In place of an ``OSError``, or what safetensors makes of one.
    """
    try:
        yield
    except Exception as error:
        if _of_the_system(error):
            raise WriteError(refused(path, error)) from error
        raise


def _of_the_system(error: Exception) -> bool:
    from safetensors import SafetensorError  # not at the head: reading a run does without

    return isinstance(error, OSError | SafetensorError)


def refused(path: Path | str, error: Exception) -> str:
    """Say that ``path`` could not be written, why, and what to do."""
    reason = getattr(error, "strerror", None) or error
    return (
        f"cannot write {path}: {reason}; mend that and go on with --resume, what was saved before "
        "is untouched"
    )


def replace(path: Path, text: str) -> None:
    """Write a whole file or none: aside, to the disk, then renamed over.

    Raises:
        WriteError: It could not be written; what was there is there still.
    """
    aside = path.with_name(f".{path.name}.writing")
    with written(path):
        try:
            aside.write_text(text, encoding="utf-8")
            sync(aside)
            os.replace(aside, path)  # noqa: PTH105 - the same call as Path.replace, atomic on every system
        except OSError:
            aside.unlink(missing_ok=True)  # on a full disk every byte counts
            raise


def append(path: Path, lines: Iterable[str]) -> None:
    """Append lines to a file.

    Raises:
        WriteError: They could not be written; the last of them may be torn.
    """
    with written(path), path.open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def sync(path: Path) -> None:
    """Have what was written to a file or directory outlive a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
