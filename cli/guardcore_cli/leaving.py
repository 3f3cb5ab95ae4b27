"""How the process ends where a scheduler wants it to, or a reward will not let it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import typer


@contextmanager
def preemptible(command: Callable[[], str]) -> Iterator[None]:
    """Inside, a scheduler's signal ends the process with its code also where nothing is to save.

    While an iteration is under way, the loop's own handlers take its place.
    """
    from guardcore.signals import GO_ON, PREEMPTING

    def leave(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        typer.echo(f"stopped by {name}; go on with: {command()}", err=True)
        raise SystemExit(GO_ON)

    before = {number: signal.signal(number, leave) for number in PREEMPTING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ending() -> Iterator[None]:
    """At the end, leave at once where a reward still hangs, and take its processes along.

    Threads that it has begun itself would be waited for by the interpreter, and processes live on.
    """
    try:
        yield
    except SystemExit as end:
        if _hangs():
            _leave(end.code if isinstance(end.code, int) else 1)
        raise
    if _hangs():
        _leave(0)


def _hangs() -> bool:
    judge = sys.modules.get("guardcore.judge")  # without it no reward was ever called
    return judge is not None and bool(judge.at_work())


def _leave(code: int) -> None:
    import psutil

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
