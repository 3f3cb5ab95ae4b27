"""Words on the importance ratio, to be chained left to right.

``log r`` is the log-ratio, ``d = mean_new − mean_old``, ``bias = reduce(d²)/(2·std²)``: the
amount by which ``E[log r]`` lies below 0. Each word is pure and treats every row by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from pydantic import Field

from guardcore import Calibration, Options, RatioTerms, Registrar, StepContext, hookimpl, promote

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


@hookimpl
def guardcore_register_ratio_transforms(register: Registrar) -> None:
    """Register the five words."""
    register("ppo-clip", ppo_clip)
    register("mean-revise", mean_revise)
    register("ratio-norm", ratio_norm)
    register("flat-norm", flat_norm)
    register("dppo-mask", dppo_mask)
