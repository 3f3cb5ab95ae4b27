"""What the importance ratio does at each denoising step, as in the paper's figures.

Figures stay on the device as ``[B]`` tensors until an update is over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guardcore.objective import Scored

Row = dict[str, float]


@dataclass(frozen=True, eq=False)
class Terms:
    """Per-row figures of many (sample, step) terms, each ``[M]``."""

    log_ratio: Tensor
    low: Tensor
    high: Tensor
    k: Tensor
    blocked: Tensor
    raw: Tensor

    @staticmethod
    def of(scored: Scored) -> Terms:
        """Read the figures off one scored micro-batch."""
        context, terms = scored.context, scored.terms
        dimensions = context.x_next[0].numel() if context.reduction == "mean" else 1
        values = (terms.log_ratio, terms.low, terms.high, context.bias * dimensions)
        log_ratio, low, high, k = (value.detach().double() for value in values)
        return Terms(log_ratio, low, high, k, scored.clipped, scored.raw_log_ratio.detach())

    @staticmethod
    def cat(parts: Sequence[Terms]) -> Terms:
        """Join terms."""
        fields = Terms.__dataclass_fields__
        return Terms(*(torch.cat([getattr(part, name) for part in parts]) for name in fields))

    def summary(self) -> Row:
        """Return the figures of ``steps.jsonl``.

        ``clip_high`` and ``clip_low`` are the fractions of ratios outside the bounds whatever the
        advantage's sign; ``blocked`` is the fraction of terms without gradient; ``k`` is
        ``‖d‖²/(2·std²)`` summed over the latent dimensions.
        """
        excess = self.log_ratio.expm1()  # r − 1: a spread of 1e-6 around 1 survives rounding
        return {
            "ratio_mean": 1 + float(excess.mean()),
            "ratio_std": float(excess.std(correction=0)),
            "log_ratio_mean": float(self.log_ratio.mean()),
            "k": float(self.k.mean()),
            "clip_high": float((excess > self.high - 1).double().mean()),
            "clip_low": float((excess < self.low - 1).double().mean()),
            "blocked": float(self.blocked.double().mean()),
        }


class UpdateFigures:
    """Collects the terms of one update, by denoising step."""

    def __init__(self) -> None:
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

    def rows(self, iteration: int, update: int) -> list[Row]:
        """Return one row a denoising step, for ``steps.jsonl``."""
        return [
            {"iteration": iteration, "update": update, "step": step}
            | {"sigma": float(self._sigma[step])}
            | Terms.cat(parts).summary()
            for step, parts in sorted(self._terms.items())
        ]


def headline(updates: Sequence[UpdateFigures]) -> Row:
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
