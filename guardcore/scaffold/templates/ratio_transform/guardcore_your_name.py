"""A soft bound as a ratio transform: ``log r ← bound · tanh(log r / bound)``.

A clip takes the gradient away at once; here it fades. The slope is ``1 − tanh²(log r / bound)``: 1
at ``log r = 0``, 0.42 at ``log r = bound``. The ratio stays within ``exp(±bound)``.
"""

from __future__ import annotations

from dataclasses import replace

from guardcore import Options, RatioTerms, RatioTransform, Registrar, StepContext, hookimpl
from pydantic import Field


class YourNameOptions(Options):
    """Where the ratio is held back."""

    bound: float = Field(
        2e-6,
        gt=0,
        description="largest absolute log-ratio; like a clip range it belongs to an image size: "
        "2e-6 after ratio-norm at 512 px, 2e-4 on the tiny model",
    )


def your_name_transform(options: YourNameOptions) -> RatioTransform:
    """Squash the log-ratio to ``bound·tanh(log r/bound)``: a trust region with a soft edge."""

    def squash(terms: RatioTerms, context: StepContext) -> RatioTerms:
        return replace(terms, log_ratio=options.bound * (terms.log_ratio / options.bound).tanh())

    return squash


@hookimpl
def guardcore_register_ratio_transforms(register: Registrar) -> None:
    """Register the one word."""
    register("your-name", your_name_transform)
