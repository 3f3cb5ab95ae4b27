"""A clip range that widens with the spread that a denoising step gives the ratio."""

from collections.abc import Callable
from dataclasses import replace

from pydantic import Field

from guardcore import Options, RatioTerms, Registrar, StepContext, hookimpl, promote


class SpreadClipOptions(Options):
    """How wide the range is."""

    width: float = Field(
        2e-5, gt=0, description="half-width of the clip range at velocity_gain/std = 1; no unit"
    )


def spread_clip(options: SpreadClipOptions) -> Callable[[RatioTerms, StepContext], RatioTerms]:
    """Bound the ratio to ``1 ± width·velocity_gain/std``: one range for every step.

    A change of velocity spreads the log-ratio in proportion to ``velocity_gain/std``. The range
    follows, and the log-ratio itself stays as it is.
    """

    def clip(terms: RatioTerms, context: StepContext) -> RatioTerms:
        half = options.width * promote(context.old.velocity_gain) / promote(context.old.std)  # [B]
        low, high = (1 - half).clamp(min=0).to(terms.low), (1 + half).to(terms.high)
        return replace(terms, low=terms.low.maximum(low), high=terms.high.minimum(high))

    return clip


@hookimpl
def guardcore_register_ratio_transforms(register: Registrar) -> None:
    """Register the one word."""
    register("spread-clip", spread_clip)
