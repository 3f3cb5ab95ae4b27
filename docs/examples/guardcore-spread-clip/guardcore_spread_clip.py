"""A clip range that widens with the spread that a denoising step gives the ratio."""

from dataclasses import replace

from pydantic import Field

from guardcore import (
    Options,
    RatioTerms,
    RatioTransform,
    Registrar,
    StepContext,
    hookimpl,
    promote,
)


class SpreadClipOptions(Options):
    """How wide the range is."""

    width: float = Field(
        2e-5,
        gt=0,
        description="half-width of the range at velocity_gain/std = 1",
    )


def spread_clip(options: SpreadClipOptions) -> RatioTransform:
    """Bound the ratio to ``1 ± width·velocity_gain/std``: one range for every step.

    A change of velocity spreads the log-ratio in proportion to that factor.
    The range follows; the log-ratio itself stays as it is.
    """

    def clip(terms: RatioTerms, context: StepContext) -> RatioTerms:
        gain, std = promote(context.old.velocity_gain), promote(context.old.std)
        half = options.width * gain / std  # [B]
        low, high = (1 - half).clamp(min=0).to(terms.low), (1 + half).to(terms.high)
        return replace(terms, low=terms.low.maximum(low), high=terms.high.minimum(high))

    return clip


@hookimpl
def guardcore_register_ratio_transforms(register: Registrar) -> None:
    """Register the one word."""
    register("spread-clip", spread_clip)
