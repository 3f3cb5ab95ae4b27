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


@hookimpl
def guardcore_register_penalties(register: Registrar) -> None:
    """Register the KL penalty."""
    register("kl", kl)
