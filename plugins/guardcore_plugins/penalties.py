"""Terms of the loss that hold the model near its reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from guardcore import Options, Registrar, StepContext, hookimpl, promote

if TYPE_CHECKING:
    from torch import Tensor


def kl(options: Options) -> Callable[[StepContext], Tensor]:
    """``reduce((mean_new − mean_reference)²)/(2·std²)`` in nats, reduced (Flow-GRPO, Eq. 11).

    The exact divergence of two Gaussians of one std; 0 at the reference, never negative.
    """

    def penalty(context: StepContext) -> Tensor:
        if context.reference is None:
            raise ValueError("the kl penalty needs StepContext.reference, received None")
        gap = promote(context.new.mean) - promote(context.reference.mean)
        return context.reduce(gap**2) / (2 * promote(context.old.std) ** 2)

    return penalty


def kl_velocity(options: Options) -> Callable[[StepContext], Tensor]:
    """``reduce((v_new − v_reference)²)``: the KL without its weight (Flow-Factory, ``v-based``).

    With one velocity ``kl`` is ``velocity_gain²/(2·std²)`` times as much, 680 times as much at
    SD3's last trained step as at its first; here each step counts by what it moves.
    """

    def penalty(context: StepContext) -> Tensor:
        velocity, reference = context.velocity, context.reference_velocity
        if velocity is None or reference is None:
            raise ValueError(
                "the kl-velocity penalty needs StepContext.velocity and reference_velocity, "
                "received None"
            )
        return context.reduce((promote(velocity) - promote(reference)) ** 2)

    return penalty


@hookimpl
def guardcore_register_penalties(register: Registrar) -> None:
    """Register the KL penalty in its two forms."""
    register("kl", kl)
    register("kl-velocity", kl_velocity)
