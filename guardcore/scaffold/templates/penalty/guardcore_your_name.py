"""A leash as a penalty: ``max(reduce((v − v_reference)²) − slack, 0)``.

The model may move freely within ``slack`` of its reference, and pays for what it moves beyond. The
penalty looks at the velocities themselves, so the sampler and its noise don't matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardcore import Options, Penalty, Registrar, StepContext, hookimpl, promote
from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor


class YourNameOptions(Options):
    """How long the leash is."""

    slack: float = Field(
        0.0, ge=0, description="squared change of velocity that is free, reduced over a latent"
    )


def your_name_penalty(options: YourNameOptions) -> Penalty:
    """``max(reduce((v − v_reference)²) − slack, 0)``: free within the slack."""

    def penalty(context: StepContext) -> Tensor:
        if context.velocity is None or context.reference_velocity is None:
            raise ValueError("your-name needs velocity and reference_velocity, received None")
        change = promote(context.velocity) - promote(context.reference_velocity)
        return (context.reduce(change**2) - options.slack).clamp(min=0)

    return penalty


@hookimpl
def guardcore_register_penalties(register: Registrar) -> None:
    """Register the one penalty."""
    register("your-name", your_name_penalty)
