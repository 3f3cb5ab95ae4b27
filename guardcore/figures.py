"""What the importance ratio does at each denoising step, as in the paper's figures.

Figures stay on the device as ``[B]`` tensors until an update is over.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from guardcore.objective import Scored
from guardcore.ranks import Piece, Ranks

Row = dict[str, Any]

QUANTILES = tuple(place / 20 for place in range(21))
"""Levels of ``ratio_quantiles``: from the smallest ratio to the largest."""


@dataclass(frozen=True, eq=False)
class Terms:
    """Per-row figures of many (sample, step) terms, each ``[M]``."""

    log_ratio: Tensor
    low: Tensor
    high: Tensor
    k: Tensor
    blocked: Tensor
    raw: Tensor
    bias: Tensor
    advantage: Tensor

    @staticmethod
    def of(scored: Scored) -> Terms:
        """Read the figures off one scored micro-batch."""
        context, terms = scored.context, scored.terms
        dimensions = context.x_next[0].numel() if context.reduction == "mean" else 1
        raw, bias = scored.raw_log_ratio.detach(), context.bias.detach().double()
        values = (terms.log_ratio, terms.low, terms.high)
        log_ratio, low, high = (value.detach().double() for value in values)
        advantage = torch.zeros_like(raw) if context.advantage is None else context.advantage
        return Terms(log_ratio, low, high, bias * dimensions, scored.clipped, raw, bias, advantage)

    @staticmethod
    def cat(parts: Sequence[Terms]) -> Terms:
        """Join terms, on the CPU."""
        fields = Terms.__dataclass_fields__
        return Terms(*(torch.cat([getattr(p, name) for p in parts]).cpu() for name in fields))

    def matrix(self, sigma: Tensor) -> Tensor:
        """Return the figures as columns, and ``sigma`` in a last one; float64."""
        columns = [getattr(self, name).double() for name in self.__dataclass_fields__]
        return torch.stack([*columns, sigma.double().expand(len(self.raw))], 1)

    @staticmethod
    def of_matrix(matrix: Tensor) -> Terms:
        """Return what ``matrix`` was made from, without sigma."""
        *columns, _ = matrix.unbind(1)
        terms = Terms(*columns)
        return replace(terms, blocked=terms.blocked.bool())

    def summary(self) -> Row:
        """Return the figures of ``steps.jsonl``.

        ``clip_high`` and ``clip_low`` are the fractions of ratios outside the bounds whatever the
        advantage's sign, and with ``_positive`` or ``_negative`` those among the terms with such
        an advantage, NaN where there is none; ``blocked`` is the fraction of terms without
        gradient; ``k`` is ``‖d‖²/(2·std²)`` summed over the latent dimensions.
        ``log_ratio_raw_mean`` is taken before any transform; Eq. 6 of GRPO-Guard predicts it as
        ``log_ratio_raw_predicted``, minus the mean of ``reduce(d²)/(2·std²)``, for samples that
        no update has used. ``ratio_quantiles`` are at 0, 5, … 100 %.
        """
        excess = self.log_ratio.expm1()  # r − 1: a spread of 1e-6 around 1 survives rounding
        above, below = excess > self.high - 1, excess < self.low - 1
        positive, negative = self.advantage > 0, self.advantage < 0
        levels = excess.new_tensor(QUANTILES)
        return {
            "ratio_mean": 1 + float(excess.mean()),
            "ratio_std": float(excess.std(correction=0)),
            "ratio_quantiles": (1 + excess.quantile(levels)).tolist(),
            "log_ratio_mean": float(self.log_ratio.mean()),
            "log_ratio_raw_mean": float(self.raw.mean()),
            "log_ratio_raw_predicted": -float(self.bias.mean()),
            "k": float(self.k.mean()),
            "clip_high": _fraction(above),
            "clip_low": _fraction(below),
            "clip_high_positive": _fraction(above[positive]),
            "clip_high_negative": _fraction(above[negative]),
            "clip_low_positive": _fraction(below[positive]),
            "clip_low_negative": _fraction(below[negative]),
            "blocked": _fraction(self.blocked),
        }


def _fraction(terms: Tensor) -> float:
    return float(terms.double().mean()) if len(terms) else math.nan


class UpdateFigures:
    """Collects the terms of one update, by denoising step.

    Attributes:
        grad_norms: The norm of each step's own gradient, where it was measured.
    """

    def __init__(self) -> None:
        self.grad_norms: Mapping[int, float] = {}
        self._terms: dict[int, list[Terms]] = defaultdict(list)
        self._sigma: dict[int, Tensor] = {}

    def add(self, step: int, scored: Scored) -> None:
        """Add a micro-batch whose rows are all at ``step``."""
        self._terms[step].append(Terms.of(scored))
        self._sigma[step] = scored.context.step.sigma[0]

    def all(self) -> Terms | None:
        """Return the terms of every step; None where nothing was scored."""
        parts = [part for parts in self._terms.values() for part in parts]
        return Terms.cat(parts) if parts else None

    def gathered(self, ranks: Ranks, scored: Mapping[int, Sequence[Piece]]) -> UpdateFigures:
        """Return the terms of all processes, in the samples' order, on the CPU.

        Args:
            ranks: The processes.
            scored: By step, all micro-batches that somebody has scored.
        """
        own = [terms.matrix(self._sigma[step]) for step in scored for terms in self._terms[step]]
        pieces = [piece for at_step in scored.values() for piece in at_step]
        none = torch.empty(0, len(Terms.__dataclass_fields__) + 1, dtype=torch.float64)
        found = torch.cat(own).cpu() if own else none  # all figures in one transfer
        rows = ranks.gather(found, pieces, "figures")
        sizes = [sum(len(p.samples) for p in at_step) for at_step in scored.values()]
        every = UpdateFigures()
        for step, part in zip(scored, torch.split(rows, sizes), strict=True):
            if len(part):
                every._terms[step] = [Terms.of_matrix(part)]
                every._sigma[step] = part[0, -1]
        return every

    def rows(self, iteration: int, update: int) -> list[Row]:
        """Return one row a denoising step, for ``steps.jsonl``."""
        return [
            {"iteration": iteration, "update": update, "step": step}
            | {"sigma": float(self._sigma[step])}
            | Terms.cat(parts).summary()
            | ({"grad_norm": self.grad_norms[step]} if step in self.grad_norms else {})
            for step, parts in sorted(self._terms.items())
        ]


def headline(updates: Sequence[UpdateFigures]) -> dict[str, float]:
    """Return an iteration's figures over all steps, from the updates after the first.

    The first update of an iteration has ratio 1 everywhere and is left out, unless it is alone.
    """
    terms = [terms for figures in updates[1:] or updates if (terms := figures.all())]
    if not terms:
        return {}
    summary = Terms.cat(terms).summary()
    names = {"ratio/mean": "ratio_mean", "ratio/std": "ratio_std", "ratio/k": "k"}
    names |= {"clip/high": "clip_high", "clip/low": "clip_low", "clip/blocked": "blocked"}
    return {name: summary[key] for name, key in names.items()}
