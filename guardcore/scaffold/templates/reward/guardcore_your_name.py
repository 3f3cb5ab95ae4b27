"""Contrast as a reward: ``min(std(Y), cap)`` over an image's pixels, with the luminance ``Y``.

Root-mean-square contrast: Peli, Contrast in complex images (1990). ``Y`` has Rec. 709's weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guardcore import Options, Prompt, Registrar, Reward, hookimpl
from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor


class YourNameOptions(Options):
    """Where more contrast stops being better."""

    cap: float = Field(
        0.3, gt=0, le=0.5, description="largest score; half black, half white has 0.5"
    )


@dataclass(frozen=True)
class YourNameReward:
    """Judges images by their contrast; the prompts don't matter."""

    cap: float

    def __call__(self, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """Return one score an image, ``[B]``, for images ``[B, 3, H, W]`` in [0, 1]."""
        red, green, blue = images.unbind(1)  # [B, H, W] each
        luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        return luminance.flatten(1).std(1, correction=0).clamp(max=self.cap)

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


def your_name_reward(options: YourNameOptions) -> Reward:
    """Root-mean-square contrast, up to a cap; an even image has 0."""
    return YourNameReward(options.cap)


@hookimpl
def guardcore_register_rewards(register: Registrar) -> None:
    """Register the one reward."""
    register("your-name", your_name_reward)
