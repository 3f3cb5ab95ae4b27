"""A ratio transform and a reward, in one file."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from pydantic import Field
from torch import Tensor

from guardcore import Options, Prompt, RatioTerms, Registrar, Reward, StepContext, hookimpl


class TemperOptions(Options):
    power: float = Field(0.5, gt=0, le=1, description="exponent of the ratio; 1 leaves it alone")


def temper(options: TemperOptions) -> Callable[[RatioTerms, StepContext], RatioTerms]:
    """r^power: a ratio that trusts itself less."""

    def transform(terms: RatioTerms, context: StepContext) -> RatioTerms:
        return replace(terms, log_ratio=options.power * terms.log_ratio)

    return transform


class Warmth:
    """Mean of red minus blue, in [-1, 1]."""

    def __call__(self, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        return (images[:, 0] - images[:, 2]).mean((1, 2))

    def close(self) -> None:
        """Hold nothing."""


def warmth(options: Options) -> Reward:
    """How much redder than blue an image is."""
    return Warmth()


@hookimpl
def guardcore_register_ratio_transforms(register: Registrar) -> None:
    register("temper", temper)


@hookimpl
def guardcore_register_rewards(register: Registrar) -> None:
    register("warmth", warmth)
