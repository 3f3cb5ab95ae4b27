"""Where an iteration's time goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

PHASES = (
    "encode",
    "rollout",  # the velocity, while sampling
    "decode",
    "waiting",  # for rewards, which work while images are sampled
    "forward",  # the velocity, while updating
    "backward",
    "optimizer",
    "evaluate",
    "checkpoint",
    "rest",
)


class Clock:
    """Adds up seconds by phase; a phase within another counts towards the outer one.

    On an accelerator a phase ends when the host goes on.
    """

    def __init__(self) -> None:
        self._inside = False
        self._seconds: dict[str, float] = defaultdict(float)
        self._beside: dict[str, float] = defaultdict(float)
        self._start = time.perf_counter()

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Count the time inside towards ``phase``."""
        if self._inside:
            yield
            return
        start, self._inside = time.perf_counter(), True
        try:
            yield
        finally:
            self._seconds[phase] += time.perf_counter() - start
            self._inside = False

    def beside(self, what: str, seconds: float) -> None:
        """Report another thread's work as ``seconds/<what>``, which is no part of the total."""
        if not self._inside:
            self._beside[what] += seconds

    def lap(self) -> dict[str, float]:
        """Return ``seconds/<phase>`` since the last lap, with ``rest`` and ``total``."""
        now = time.perf_counter()
        total, counted = now - self._start, dict(self._seconds)
        self._seconds.clear()
        self._start = now
        counted["rest"] = total - sum(counted.values())
        counted["total"] = total
        counted |= self._beside
        self._beside.clear()
        return {f"seconds/{phase}": seconds for phase, seconds in counted.items()}
