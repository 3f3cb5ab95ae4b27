"""Factors that share the gradient out over the denoising steps, each ``[B]`` and positive."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from guardcore import Options, Registrar, StepContext, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

Weight = Callable[[StepContext], "Tensor"]


class NoiseAwareOptions(Options):
    """What makes the weight's mean over the steps 1."""

    scale: float = Field(
        2.25,
        gt=0,
        description="1 over the mean std of the trained steps; the default is that of SD3's ten "
        "steps with noise_level 0.7",
    )


def uniform(options: Options) -> Weight:
    """1 at every step."""

    def weight(context: StepContext) -> Tensor:
        return context.step.sigma.new_ones(context.step.sigma.shape)

    return weight


def inverse_dt(options: Options) -> Weight:
    """``1/dt`` (GRPO-Guard, Eq. 12, Flow-SDE).

    With ``ratio-norm`` the gradient goes with ``β·dt``; this leaves β.
    """

    def weight(context: StepContext) -> Tensor:
        return 1 / context.step.dt

    return weight


def dance(options: Options) -> Weight:
    """``velocity_gain/dt² = β/dt`` (GRPO-Guard, Eq. 12, Dance-SDE).

    With ``ratio-norm`` this leaves β²; the paper's choice, kept.
    """

    def weight(context: StepContext) -> Tensor:
        return context.old.velocity_gain / context.step.dt**2

    return weight


def flat(options: Options) -> Weight:
    """``1/velocity_gain``: with ``ratio-norm`` the gradient is the same at every step (ours)."""

    def weight(context: StepContext) -> Tensor:
        return 1 / context.old.velocity_gain

    return weight


def noise_scale(options: Options) -> Weight:
    """``std``: takes plain Flow-GRPO's ``1/std`` out again (Temp-Reweight, ablation)."""

    def weight(context: StepContext) -> Tensor:
        return context.old.std

    return weight


def noise_aware(options: NoiseAwareOptions) -> Weight:
    """``scale·std``, of mean 1 over the schedule (TempFlow-GRPO, arXiv 2508.04324, Eq. 7).

    ``noise-scale`` but for a constant, which AdamW hardly notices and a penalty beside it does.
    """

    def weight(context: StepContext) -> Tensor:
        return options.scale * context.old.std

    return weight


@hookimpl
def guardcore_register_gradient_weights(register: Registrar) -> None:
    """Register the weights."""
    register("uniform", uniform)
    register("inverse-dt", inverse_dt)
    register("dance", dance)
    register("flat", flat)
    register("noise-scale", noise_scale)
    register("noise-aware", noise_aware)
