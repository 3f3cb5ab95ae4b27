"""Words on the importance ratio, to be chained left to right.

``log r`` is the log-ratio, ``d = mean_new − mean_old``, ``bias = reduce(d²)/(2·std²)``: the
amount by which ``E[log r]`` lies below 0. Each word is pure and treats every row by itself.

The words that centre and scale come first, then those that hold the ratio near 1: ``ppo-clip``,
``soft-clip``, ``cispo``, ``dual-clip``, ``dppo-mask``. Their numbers are half-widths around 1
and belong to one spread: what language models call .2 is 2e-6 after ``ratio-norm``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from guardcore import Calibration, Options, RatioTerms, Registrar, StepContext, hookimpl, promote

if TYPE_CHECKING:
    from torch import Tensor

Word = Callable[[RatioTerms, StepContext], RatioTerms]


class PPOClipOptions(Options):
    """The trust region's half-widths around a ratio of 1."""

    low: float = Field(1e-4, ge=0, lt=1, description="below 1: the lower bound is 1 − low")
    high: float = Field(1e-4, ge=0, description="above 1: the upper bound is 1 + high")
    range: Literal["auto"] | None = Field(
        None,
        description="auto: the run's first iterations go without this clip; then low and high, "
        "whatever stands there, become one width for good, that which leaves outside_fraction of "
        "their ratios outside, first updates left out",
    )
    outside_fraction: float = Field(
        0.1, gt=0, lt=1, description="part of the ratios that range: auto leaves outside"
    )
    calibration_iterations: int = Field(2, ge=1, description="iterations that range: auto looks at")

    def calibration(self) -> Calibration | None:
        """Return what ``range: auto`` waits for."""
        if self.range is None:
            return None
        return Calibration(self.calibration_iterations, self.outside_fraction)

    def calibrated(self, width: float) -> PPOClipOptions:
        """Return both half-widths as numbers."""
        low = min(width, math.nextafter(1, 0))
        return self.model_copy(update={"low": low, "high": width, "range": None})


class SoftClipOptions(Options):
    """How far the ratio can get from 1, by the sign of the advantage."""

    low: float = Field(
        1e-4, gt=0, description="where the advantage is negative or 0: the ratio stays in 1 ± low"
    )
    high: float = Field(
        1e-4, gt=0, description="where the advantage is positive: the ratio stays in 1 ± high"
    )


class CISPOOptions(Options):
    """The range of the importance weight."""

    low: float = Field(
        1, ge=0, le=1, description="the weight is at least 1 − low; 1, as in the paper, is no bound"
    )
    high: float = Field(1e-4, ge=0, description="the weight is at most 1 + high")


class DualClipOptions(Options):
    """Where a bad sample's ratio counts no further."""

    c: float = Field(
        1.001,
        gt=1,
        description="largest ratio that counts where the advantage is negative; beside a clip of "
        "half-width .2 the literature has 3, ten half-widths above 1",
    )


class DPPOMaskOptions(Options):
    """When a row has moved too far."""

    threshold: float = Field(
        1e-5, gt=0, description="largest reduce(d²)/(2·std²), a KL divergence in nats (reduced)"
    )


def ppo_clip(options: PPOClipOptions) -> Word:
    """Bound the ratio to ``[1 − low, 1 + high]``, within bounds already there (PPO)."""

    def clip(terms: RatioTerms, context: StepContext) -> RatioTerms:
        low = terms.low.clamp(min=1 - options.low)
        return replace(terms, low=low, high=terms.high.clamp(max=1 + options.high))

    return clip


def soft_clip(options: SoftClipOptions) -> Word:
    """``r = 1 + w·tanh((r − 1)/w)``, w by the advantage's sign (SAPO, arXiv 2511.20347, section 3).

    The paper's ``4/τ·σ(τ·(r − 1))`` with ``τ = 2/w``, but for a constant that makes it 1 at r = 1.
    The gradient fades with ``sech²((r − 1)/w)``, on both sides, in place of ending at a bound.
    """

    def clip(terms: RatioTerms, context: StepContext) -> RatioTerms:
        low = _advantage(context, "soft-clip") <= 0
        width = terms.low.new_full(low.shape, options.high).masked_fill(low, options.low)
        # at e^80 tanh has long been 1; beyond the float's range its gradient would be 0·inf
        excess = terms.log_ratio.clamp(max=80).expm1()
        return replace(terms, log_ratio=(width * (excess / width).tanh()).log1p())

    return clip


def cispo(options: CISPOOptions) -> Word:
    """``log sg(clamp(r, 1 − low, 1 + high)) + log r − sg(log r)`` (MiniMax-M1, Eqs. 4 and 5).

    sg stops the gradient (arXiv 2506.13585). The surrogate's gradient is then
    ``sg(clamp(r))·A·∇ log r``: every row keeps one, only its weight is bounded.
    """
    low = math.log1p(-options.low) if options.low < 1 else -math.inf
    high = math.log1p(options.high)

    def weigh(terms: RatioTerms, context: StepContext) -> RatioTerms:
        value = terms.log_ratio.detach()
        log_ratio = terms.log_ratio - value + value.clamp(low, high)
        return replace(terms, log_ratio=log_ratio)

    return weigh


def dual_clip(options: DualClipOptions) -> Word:
    """``min(r, c)`` where A < 0 (Ye et al. 2020, arXiv 1912.09729, Eq. 5).

    PPO's min lets a bad sample that has become likelier weigh the more the likelier it is; here
    its objective is at least c·A, and beyond there is no gradient: such rows are blocked.
    """

    def clip(terms: RatioTerms, context: StepContext) -> RatioTerms:
        limit = math.log(options.c)
        beyond = (_advantage(context, "dual-clip") < 0) & (terms.log_ratio > limit)
        log_ratio = terms.log_ratio.masked_fill(beyond, limit)
        return replace(terms, log_ratio=log_ratio, blocked=terms.blocked | beyond)

    return clip


def mean_revise(options: Options) -> Word:
    """``log r + bias``: centres the log-ratio on 0 (GRPO-Guard, ablation)."""

    def revise(terms: RatioTerms, context: StepContext) -> RatioTerms:
        return replace(terms, log_ratio=terms.log_ratio + context.bias)

    return revise


def ratio_norm(options: Options) -> Word:
    """``std·(log r + bias)``: centred, and of one scale at every step (GRPO-Guard, Eq. 8).

    The bias is each row's own; its gradient counts.
    """

    def normalise(terms: RatioTerms, context: StepContext) -> RatioTerms:
        std = promote(context.old.std)
        return replace(terms, log_ratio=std * (terms.log_ratio + context.bias))

    return normalise


def flat_norm(options: Options) -> Word:
    """``std/velocity_gain·(log r + bias)``: the same spread at every step (ours).

    For one change of velocity everywhere; Eq. 8 leaves the factor ``velocity_gain``.
    """

    def normalise(terms: RatioTerms, context: StepContext) -> RatioTerms:
        scale = promote(context.old.std) / promote(context.old.velocity_gain)
        return replace(terms, log_ratio=scale * (terms.log_ratio + context.bias))

    return normalise


def dppo_mask(options: DPPOMaskOptions) -> Word:
    """Where ``bias > threshold`` both bounds become 1 (Flow-DPPO).

    The surrogate's min then blocks exactly the moves away from the old distribution and lets
    the moves back to it pass.
    """

    def mask(terms: RatioTerms, context: StepContext) -> RatioTerms:
        far = context.bias > options.threshold
        return replace(
            terms, low=terms.low.masked_fill(far, 1), high=terms.high.masked_fill(far, 1)
        )

    return mask


def _advantage(context: StepContext, word: str) -> Tensor:
    if context.advantage is None:
        raise ValueError(f"{word} needs StepContext.advantage, received None")
    return context.advantage


@hookimpl
def guardcore_register_ratio_transforms(register: Registrar) -> None:
    """Register the words."""
    register("ppo-clip", ppo_clip)
    register("soft-clip", soft_clip)
    register("cispo", cispo)
    register("dual-clip", dual_clip)
    register("mean-revise", mean_revise)
    register("ratio-norm", ratio_norm)
    register("flat-norm", flat_norm)
    register("dppo-mask", dppo_mask)
