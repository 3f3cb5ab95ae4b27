"""The strength of guidance, which an evaluation may set otherwise than training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class GuidanceScale:
    """A guidance scale that can be exchanged for a while."""

    def __init__(self, value: float) -> None:
        self.value = value

    @contextmanager
    def exchanged(self, value: float) -> Iterator[None]:
        """Inside, the scale has another value."""
        before, self.value = self.value, value
        try:
            yield
        finally:
            self.value = before
