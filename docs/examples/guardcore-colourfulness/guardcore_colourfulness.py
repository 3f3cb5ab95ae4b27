"""How colourful an image is.

Source: Hasler and Süsstrunk, Measuring colourfulness in natural images (2003).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from guardcore import Options, Prompt, Registrar, Reward, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class ColourfulnessOptions(Options):
    """Where more colour stops being better."""

    cap: float = Field(1.0, gt=0, description="largest score; in a photograph, 0.4 is vivid")


@dataclass(frozen=True)
class Colourfulness:
    """``std_rgyb + 0.3·mean_rgyb`` of the opponent colours red−green and yellow−blue."""

    cap: float

    def __call__(self, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """Return one score an image, ``[B]``, for images ``[B, 3, H, W]`` in [0, 1]."""
        red, green, blue = images.unbind(1)  # [B, H, W] each
        red_green, yellow_blue = red - green, (red + green) / 2 - blue
        opponents = (red_green.flatten(1), yellow_blue.flatten(1))
        spread = sum(o.var(1, correction=0) for o in opponents) ** 0.5
        shift = sum(o.mean(1) ** 2 for o in opponents) ** 0.5
        return (spread + 0.3 * shift).clamp(max=self.cap)

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


def colourfulness(options: ColourfulnessOptions) -> Reward:
    """Colourfulness after Hasler and Süsstrunk, up to a cap; grey is 0."""
    return Colourfulness(options.cap)


@hookimpl
def guardcore_register_rewards(register: Registrar) -> None:
    """Register the one reward."""
    register("colourfulness", colourfulness)
