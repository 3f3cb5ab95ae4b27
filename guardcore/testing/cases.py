"""The cases that laws are tried on: small step contexts, each shown as the call that makes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from guardcore.ratio import RatioTerms, StepContext, log_ratio
from guardcore.registry import create
from guardcore.tensors import Reduction
from guardcore.testing.contexts import step_context

LATENTS = ((1,), (2, 2), (6, 3), (2, 4, 4))
"""Shapes of a row: packed ``[tokens, C]`` and ``[C, H, W]``, some as wide as a batch has rows."""
CHANGES = (1e-2, 1e-4, 1.0)
"""Root mean square of the velocity's change: of an early update, of a tiny and a wild one."""


@dataclass(frozen=True, repr=False)
class StepCase:
    """The arguments of ``step_context``; ``sampler`` by name."""

    steps: tuple[int, ...]
    shape: tuple[int, ...]
    change: float
    seed: int
    reduction: Reduction
    sampler: str
    dtype: torch.dtype

    def context(self) -> StepContext:
        """Return the step context."""
        return step_context(
            len(self.steps),
            self.shape,
            steps=self.steps,
            change=self.change,
            seed=self.seed,
            reduction=self.reduction,
            sampler=create("sampler", self.sampler),
            dtype=self.dtype,
        )

    def changed_by(self, change: float) -> StepCase:
        """Return the same with another change of the velocity."""
        return replace(self, change=change)

    def __repr__(self) -> str:
        """Return the call, without what is its default."""
        said: dict[str, Any] = {"change": self.change, "seed": self.seed}
        if self.reduction != "mean":
            said["reduction"] = self.reduction
        words = [f"{name}={value!r}" for name, value in said.items()]
        if self.dtype != torch.float32:
            words.append(f"dtype={self.dtype}")
        if self.sampler != "flow-sde":
            words.append(f"sampler=create('sampler', {self.sampler!r})")
        start = f"{len(self.steps)}, {self.shape}, steps={list(self.steps)}"
        return f"step_context({', '.join([start, *words])})"


@dataclass(frozen=True, repr=False)
class TermsCase:
    """A step context, and the bounds that earlier words of the chain have left."""

    at: StepCase
    low: float
    high: float

    def terms(self, context: StepContext) -> RatioTerms:
        """Return what the word is given beside ``context``."""
        return self.around(log_ratio(context))

    def around(self, values: Tensor) -> RatioTerms:
        """Return log-ratios ``values [B]`` with the bounds."""
        low, high = (torch.full_like(values, bound).detach() for bound in (self.low, self.high))
        return RatioTerms(values, low, high)

    def __repr__(self) -> str:
        """Return both as calls; a chain's first word sees no bounds."""
        bounds = "" if self.high == float("inf") else f", {self.low}, {self.high}"
        return f"RatioTerms(log_ratio(c){bounds}) with c = {self.at!r}"


def rows_at_steps(last: int = 8) -> st.SearchStrategy[tuple[int, ...]]:
    """Steps of one to four rows, as many different ones as may be."""
    return st.lists(st.integers(0, last), min_size=1, max_size=4).map(tuple)


def step_cases() -> st.SearchStrategy[StepCase]:
    """Step contexts: rows at different steps, both reductions, three samplers, every dtype."""
    half = (torch.bfloat16, torch.float16)
    return st.builds(
        StepCase,
        steps=rows_at_steps(),
        shape=st.sampled_from(LATENTS),
        change=st.sampled_from(CHANGES),
        seed=st.integers(0, 99),
        reduction=st.sampled_from(("mean", "sum")),
        sampler=st.sampled_from(("flow-sde", "dance-sde", "cps")),
        dtype=st.sampled_from((torch.float32, torch.float64, *half)),
    )


def terms_cases() -> st.SearchStrategy[TermsCase]:
    """Step contexts with no bounds, a clip's, or those of a mask that has shut."""
    bounds = st.sampled_from(((0.0, float("inf")), (1 - 1e-4, 1 + 2e-4), (1.0, 1.0)))
    return st.builds(lambda at, pair: TermsCase(at, *pair), step_cases(), bounds)
