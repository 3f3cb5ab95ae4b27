"""Several servers of one reward: who is asked next, and how long a failing one is left alone."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

FIRST_REST, LONGEST_REST = 0.25, 30.0
"""Seconds after the first failure; doubled with each further one in a row, up to the longest."""

_log = logging.getLogger("guardcore")


@dataclass
class Deadline:
    """When a scoring call ends: by the monotonic clock, or at once when a part of it has failed."""

    until: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline so many seconds from now."""
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds; 0 or less when time is up."""
        return self.until - time.monotonic()

    def end(self) -> None:
        """End it now."""
        self.until = 0.0


class Rotation:
    """Lends each server to one request at a time, the one that has waited longest first.

    Args:
        urls: The servers.
        first_rest: Seconds that a server is left alone after a first failure.
    """

    def __init__(self, urls: Sequence[str], first_rest: float = FIRST_REST) -> None:
        self._first_rest = first_rest
        self._free_from = dict.fromkeys(urls, 0.0)  # seconds of the monotonic clock
        self._failures = dict.fromkeys(urls, 0)  # in a row
        self._reasons: dict[str, str] = {}
        self._lent: set[str] = set()
        self._changed = threading.Condition()
        self._random = random.Random()  # jitter; the global generator is the user's
        self._closed = False

    def borrow(self, deadline: Deadline) -> str | None:
        """Wait for a server that is neither busy nor resting; None when time is up or on close."""
        with self._changed:
            while not self._closed and (now := time.monotonic()) < deadline.until:
                free = [url for url in self._free_from if url not in self._lent]
                url = min(free, key=self._free_from.__getitem__, default=None)
                if url is not None and self._free_from[url] <= now:
                    self._lent.add(url)
                    return url
                next_free = self._free_from[url] if url else deadline.until
                self._changed.wait(min(next_free, deadline.until) - now)
        return None

    def give_back(self, url: str) -> None:
        """Return a server that has done its work."""
        with self._changed:
            if self._failures[url]:
                _log.warning("reward remote: %s answers again", url)
            self._failures[url] = 0
            self._reasons.pop(url, None)
            self._return(url, 0.0)

    def give_back_failed(self, url: str, reason: str, rest: float = 0.0) -> None:
        """Return a server that has failed; it rests, at least for ``rest`` seconds."""
        with self._changed:
            if not self._failures[url]:
                _log.warning("reward remote: %s: %s; trying again", url, reason)
            self._failures[url] += 1
            self._reasons[url] = reason
            doubled = self._first_rest * 2 ** min(self._failures[url] - 1, 10)
            jittered = min(doubled, LONGEST_REST) * self._random.uniform(0.5, 1)
            self._return(url, max(jittered, min(rest, LONGEST_REST)))

    def release(self, url: str) -> None:
        """Return a server of which nothing is known now."""
        with self._changed:
            self._return(url, 0.0)

    def reasons(self) -> str:
        """Say why each server that fails does."""
        with self._changed:
            told = [f"{url}: {reason}" for url, reason in self._reasons.items()]
        return "; ".join(told) or "every server was busy"

    def close(self) -> None:
        """Lend nothing any more, and wake who waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _return(self, url: str, rest: float) -> None:
        self._lent.discard(url)
        self._free_from[url] = time.monotonic() + rest
        self._changed.notify_all()
