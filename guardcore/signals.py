"""How a run is asked to stop, and the exit code that says that it was.

Ctrl-C is a person, who may be in a hurry: a second one stops at once. SIGTERM and SIGUSR1 are a
scheduler, which sends them to every process of a job, sometimes twice (by itself and by its
launcher), and kills what takes too long: the loop stops after the iteration, however often.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

GO_ON = 75
"""Exit code after a scheduler's signal: saved, to be resumed; ``EX_TEMPFAIL`` of sysexits.h."""

PREEMPTING = tuple(
    signal.Signals[name] for name in ("SIGTERM", "SIGUSR1") if name in signal.Signals.__members__
)
"""What schedulers send before they kill."""


def exit_code(received: signal.Signals) -> int:
    """Return the code of a process that a signal stopped in good order."""
    return GO_ON if received in PREEMPTING else 128 + received


class StopRequest:
    """While entered, remembers the first signal instead of dying of it.

    Attributes:
        received: The signal, or None.
    """

    def __init__(self, announce: Callable[[signal.Signals], None]) -> None:
        self.received: signal.Signals | None = None
        self._announce = announce
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            heeded = (signal.SIGINT, *PREEMPTING)
            self._before = {s: signal.signal(s, self._handle) for s in heeded}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signal.Signals(number)
            self._announce(self.received)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
