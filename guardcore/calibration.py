"""Ratio transforms that take a number from the run itself: calibrated once, then frozen.

Options may have a method ``calibration() -> Calibration | None``, and then ``calibrated(width) ->
Options``. While such a word waits it is left out of the chain; afterwards it is built from
options with a number in them, so that the transform itself never knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from guardcore.bound import Bound
from guardcore.components import RatioTransform
from guardcore.errors import GuardcoreError
from guardcore.figures import UpdateFigures
from guardcore.options import Calibration, Options
from guardcore.ratio import RatioTerms, StepContext


@runtime_checkable
class Calibrating(Protocol):
    """Options that may wait for a number."""

    def calibration(self) -> Calibration | None:
        """Return what they wait for; None where they have their numbers."""

    def calibrated(self, width: float, /) -> Options:
        """Return options in which ``width``, a quantile of ``|ratio − 1|``, is filled in."""


class CalibratedWord:
    """A word of the ratio chain that passes everything on until its width is known."""

    def __init__(self, bound: Bound, options: Calibrating, calibration: Calibration) -> None:
        self.bound = bound
        self.wanted = calibration
        self.width: float | None = None
        self._options = options
        self._word: RatioTransform | None = None

    def __call__(self, terms: RatioTerms, context: StepContext) -> RatioTerms:
        """Return what the word makes of ``terms``."""
        return terms if self._word is None else self._word(terms, context)

    def settle(self, width: float) -> None:
        """Build the word for ``width``, once and for all."""
        self.width = width
        word: Any = self.bound.entry.build(self._options.calibrated(width))
        self._word = word


def built_word(bound: Bound) -> RatioTransform:
    """Build a ratio transform, or what stands for one that waits for a number."""
    options = bound.options
    wanted = options.calibration() if isinstance(options, Calibrating) else None
    if wanted is None:
        word: RatioTransform = bound.build()
        return word
    return CalibratedWord(bound, options, wanted)  # type: ignore[arg-type]


class Calibrator:
    """Measures ``|ratio − 1|`` over a run's first iterations, for the words that wait for it."""

    def __init__(self, words: Sequence[RatioTransform]) -> None:
        self._words = [word for word in words if isinstance(word, CalibratedWord)]
        self._excess: list[Tensor] = []
        self._iterations = 0

    @property
    def waiting(self) -> bool:
        """Whether a word has no number yet."""
        return any(word.width is None for word in self._words)

    def check(self, iterations: int, updates: int) -> None:
        """Refuse a run in which no number can be found.

        Raises:
            GuardcoreError: It has too few iterations, or one update in each.
        """
        for word in self._words:
            path, needed = word.bound.path, word.wanted.iterations
            if updates < 2:
                raise GuardcoreError(
                    f"{path}: needs train.updates_per_iteration of 2 or more to calibrate: in an "
                    "iteration's first update every ratio is 1"
                )
            if iterations <= needed:
                raise GuardcoreError(
                    f"{path}: calibrates over {needed} iterations, and train.iterations is "
                    f"{iterations}"
                )

    def take(self, updates: Sequence[UpdateFigures]) -> None:
        """Look at an iteration's updates; a word that has waited long enough gets its number."""
        waiting = [word for word in self._words if word.width is None]
        if not waiting:
            return
        self._iterations += 1
        for figures in updates[1:]:
            if (terms := figures.all()) is not None:
                self._excess.append(terms.log_ratio.expm1().abs())
        for word in waiting:
            if self._iterations >= word.wanted.iterations and self._excess:
                word.settle(quantile(torch.cat(self._excess), 1 - word.wanted.fraction))
        if all(word.width is not None for word in self._words):
            self._excess.clear()

    def found(self) -> dict[str, dict[str, Any]]:
        """Return the options that were filled in, by config path."""
        return {
            word.bound.path: word._options.calibrated(word.width).model_dump(mode="json")
            for word in self._words
            if word.width is not None
        }

    def state(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Return tensors by file and counters, for a checkpoint."""
        if not self._words:
            return {}, {}
        widths = {word.bound.path: word.width for word in self._words if word.width is not None}
        counters = {"calibration": {"iterations": self._iterations, "widths": widths}}
        tensors = {"calibration": {"excess": torch.cat(self._excess)}} if self._excess else {}
        return tensors, counters

    def load(self, state: Mapping[str, Mapping[str, Tensor]], counters: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        saved = counters.get("calibration", {"iterations": 0, "widths": {}})
        self._iterations = saved["iterations"]
        self._excess = [state["calibration"]["excess"]] if "calibration" in state else []
        for word in self._words:
            if (width := saved["widths"].get(word.bound.path)) is not None:
                word.settle(width)


def quantile(values: Tensor, level: float) -> float:
    """Return the smallest of ``values [M]`` that at most a part ``1 − level`` of them exceeds.

    By sorting: ``torch.quantile`` takes 16 million numbers at most.
    """
    place = min(len(values) - 1, max(0, round(level * len(values)) - 1))
    return float(values.sort().values[place])
