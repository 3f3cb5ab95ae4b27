"""What a replay notes of one candidate: figures, gradients, and how wide a clip range would be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Parameter

from guardcore.calibration import quantile
from guardcore.candidates import Candidate
from guardcore.figures import Row, UpdateFigures
from guardcore.ratio import StepContext
from guardcore.step_gradients import total_norm

OUTSIDE = (0.01, 0.05, 0.10, 0.20, 0.30)
"""Fractions of the terms for which a clip range is named."""
SHOWN = 0.10
"""The one that is shown by step."""


@dataclass(frozen=True)
class Replayed:
    """What one candidate does.

    Attributes:
        name: ``run`` for the run's own words, a strategy's name, or ``chain``.
        ratio: Its ratio transforms, as the command line would write them.
        gradient_weight: Its gradient weights, likewise.
        bounds: On the ratio, where all terms have the same; no bound is 0 or infinity.
        rows: One a denoising step, as in ``steps.jsonl``.
        half_widths: By fraction, the half-width of a clip range around 1 that leaves so many of
            all steps' terms outside.
        outside: By step, the fractions below and above the range that leaves 10 % outside.
    """

    name: str
    ratio: tuple[str, ...]
    gradient_weight: tuple[str, ...]
    bounds: tuple[float, float] | None
    rows: list[Row]
    half_widths: dict[float, float]
    outside: dict[int, tuple[float, float]]

    @property
    def shares(self) -> dict[int, float]:
        """Each step's norm over the sum of the steps' norms; empty where none was measured."""
        norms = {row["step"]: row["grad_norm"] for row in self.rows if "grad_norm" in row}
        total = sum(norms.values())
        return {step: norm / total if total else 0.0 for step, norm in norms.items()}


class Tally:
    """Adds up what one candidate does, one step after the other.

    Args:
        candidate: What to score with.
        parameters: What is trained, where the steps' gradients are to be measured.
    """

    def __init__(self, candidate: Candidate, parameters: Sequence[Parameter] = ()) -> None:
        self.candidate = candidate
        self._parameters = parameters
        self._gradients: list[Tensor | None] = [None] * len(parameters)
        self._figures = UpdateFigures()
        self._norms: dict[int, float] = {}
        self._excess: dict[int, list[Tensor]] = defaultdict(list)
        self._bounds: set[tuple[float, float]] = set()

    def add(
        self, step: int, context: StepContext, mean: Callable[[Tensor], Tensor], keep: bool
    ) -> None:
        """Score a micro-batch at ``step``.

        Args:
            step: Its place in the schedule.
            context: What the components look at; candidates share its graph.
            mean: What losses ``[B]`` add to the mean over the whole update.
            keep: Leave the graph for the next candidate.
        """
        scored = self.candidate.objective.rate(context)
        self._figures.add(step, scored)
        self._excess[step].append(scored.terms.log_ratio.detach().double().expm1().cpu())
        self._bounds |= {*zip(scored.terms.low.tolist(), scored.terms.high.tolist(), strict=True)}
        loss = mean(scored.loss)
        if self._parameters and loss.requires_grad:
            self._accumulate(loss, keep)

    def close(self, step: int) -> None:
        """Take what was accumulated since the last call as the gradient of ``step``."""
        if self._parameters:
            self._norms[step] = total_norm([g for g in self._gradients if g is not None])
            self._gradients = [None] * len(self._parameters)

    def result(self, iteration: int, update: int) -> Replayed:
        """Return all of it."""
        self._figures.grad_norms = self._norms
        every = torch.cat([part for parts in self._excess.values() for part in parts])
        widths = {fraction: quantile(every.abs(), 1 - fraction) for fraction in OUTSIDE}
        outside = {
            step: _outside(torch.cat(parts), widths[SHOWN])
            for step, parts in sorted(self._excess.items())
        }
        chain = self.candidate
        return Replayed(
            name=chain.name,
            ratio=chain.ratio,
            gradient_weight=chain.gradient_weight,
            bounds=next(iter(self._bounds)) if len(self._bounds) == 1 else None,
            rows=self._figures.rows(iteration, update),
            half_widths=widths,
            outside=outside,
        )

    def _accumulate(self, loss: Tensor, keep: bool) -> None:
        found = torch.autograd.grad(loss, self._parameters, retain_graph=keep, allow_unused=True)
        pairs = zip(self._gradients, found, strict=True)
        self._gradients = [
            one if two is None else two if one is None else one + two for one, two in pairs
        ]


def _outside(excess: Tensor, width: float) -> tuple[float, float]:
    below, above = (excess < -width).double().mean(), (excess > width).double().mean()
    return float(below), float(above)
