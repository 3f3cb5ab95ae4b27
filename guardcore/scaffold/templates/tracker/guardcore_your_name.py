"""A record keeper as a tracker: one line on standard error whenever a figure is the best so far.

A figure ``f`` is announced in iteration ``n`` if ``f_n > max(f_0, …, f_{n−1})``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from guardcore import Options, Registrar, Tracker, hookimpl
from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor


class YourNameOptions(Options):
    """Which figures are watched."""

    prefix: str = Field(
        "eval/", description="what a figure's name begins with: eval/, reward/; empty: all of them"
    )


class YourNameTracker:
    """Remembers the best value of each figure."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.best: dict[str, float] = {}

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Announce what is better than ever; NaN never is."""
        for name, value in values.items():
            if not (name.startswith(self.prefix) and isinstance(value, float | int)):
                continue
            if value > self.best.get(name, -math.inf):
                self.best[name] = value
                sys.stderr.write(f"iteration {step}: {name} {value:.4f}, the best so far\n")

    def images(self, step: int, name: str, images: Tensor, captions: Sequence[str]) -> None:
        """Leave images to the run directory."""

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


def your_name_tracker(options: YourNameOptions) -> Tracker:
    """Say on standard error when a figure is the best so far."""
    return YourNameTracker(options.prefix)


@hookimpl
def guardcore_register_trackers(register: Registrar) -> None:
    """Register the one tracker."""
    register("your-name", your_name_tracker)
