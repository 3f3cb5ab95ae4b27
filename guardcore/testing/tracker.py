"""The laws of a tracker.

They tell it of a short run: figures of three iterations, odd numbers among them, and images.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guardcore.components import Tracker
from guardcore.testing.law import BrokenError, label, once
from guardcore.testing.methods import closed_after, has_methods
from guardcore.testing.pictures import DRAWN, Batch

FIGURES = {
    "reward/likeness": 0.5,
    "eval/likeness": 0.625,
    "loss": -1e-7,
    "ratio/mean": 1 - 3e-6,
    "ratio/std": 2e-6,
    "clip/low": 0.25,
    "clip/high": 0.125,
    "seconds/forward": 1.25,
    "seconds/total": 4.0,
}
ODD = {"loss": math.nan, "grad_norm": math.inf, "reward/[b]likeness[/red]": -1e30, "gold": None}
"""What a run that comes apart may report, under a name that a terminal could misread."""

CAPTIONS = ("a red disc", 'a blue "square"\nand a line', "", "[bold]绿色[/] <stripes> | %s")


def check_tracker(tracker: Tracker, *, name: str | None = None) -> None:
    """Check a tracker against its contract, and close it.

    Args:
        tracker: As its factory builds it; where it writes, it writes.
        name: What errors call it.

    Raises:
        ContractError: It breaks a law, which the error names.
    """
    who = label("tracker", tracker, name)
    once("methods", who, lambda: has_methods(tracker, ["metrics", "images", "close"]))
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        closed_after(who, tracker.close),
    ):
        _tell(tracker, who, Path(folder))


def _tell(tracker: Tracker, who: str, folder: Path) -> None:
    once("started", who, lambda: _started(tracker, folder))
    once("progress", who, lambda: _progress(tracker))
    once("metrics", who, lambda: _metrics(tracker, 0, FIGURES))
    once("images", who, lambda: _images(tracker))
    once("odd-metrics", who, lambda: _metrics(tracker, 1, ODD))
    once("another-iteration", who, lambda: _metrics(tracker, 2, FIGURES))
    once("resumed", who, lambda: _metrics(tracker, 1, FIGURES))


def _started(tracker: Tracker, folder: Path) -> None:
    """Optional: where the run lives, its config, and that it begins."""
    tell = getattr(tracker, "started", None)
    if tell is not None:
        tell(folder, {"seed": 0, "tracker": []}, -1)


def _progress(tracker: Tracker) -> None:
    """Optional: how far a phase has come."""
    tell = getattr(tracker, "progress", None)
    if tell is not None:
        for phase in ("train", "sample", "update", "evaluate"):
            tell(phase, 1, 3)


def _metrics(tracker: Tracker, step: int, figures: Mapping[str, Any]) -> None:
    told = dict(figures)
    tracker.metrics(step, told)
    if repr(told) != repr(dict(figures)):  # NaN is not equal to itself
        raise BrokenError("it changed the figures that it was told; other trackers read them")


def _images(tracker: Tracker) -> None:
    batch = Batch(tuple(DRAWN), 16, 24)
    images, captions = batch.images, list(CAPTIONS)
    tracker.images(0, "held-out", images, captions)
    if not images.equal(batch.images) or captions != list(CAPTIONS):
        raise BrokenError("it changed the images or captions; other trackers read them")
