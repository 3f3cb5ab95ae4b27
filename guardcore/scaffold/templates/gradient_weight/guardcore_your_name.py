"""A power of the noise level as a gradient weight: ``sigma^power``.

Early steps, where ``sigma`` is near 1 and the composition is decided, count fully; late ones less.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardcore import GradientWeight, Options, Registrar, StepContext, hookimpl
from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor


class YourNameOptions(Options):
    """How much less a late step counts."""

    power: float = Field(1.0, ge=0, le=4, description="exponent; 0: all steps alike; no unit")


def your_name_weight(options: YourNameOptions) -> GradientWeight:
    """``sigma^power``: early steps count more."""

    def weight(context: StepContext) -> Tensor:
        return context.step.sigma**options.power

    return weight


@hookimpl
def guardcore_register_gradient_weights(register: Registrar) -> None:
    """Register the one weight."""
    register("your-name", your_name_weight)
