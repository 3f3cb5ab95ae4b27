"""What reaches a reward: the check of images and prompts, and images as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from guardcore import GuardcoreError, Prompt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class PromptError(GuardcoreError, ValueError):
    """A prompt does not say what a reward needs to know."""


def check_images(images: Tensor, prompts: Sequence[Prompt]) -> None:
    """Refuse anything but floating-point ``images [B, 3, H, W]`` and B prompts."""
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(
            f"expected floating-point images [B, 3, H, W] in [0, 1], "
            f"received {images.dtype} {list(images.shape)}"
        )
    if len(prompts) != len(images):
        raise ValueError(f"expected one prompt an image, {len(images)}, received {len(prompts)}")


def as_bytes(images: Tensor) -> NDArray[np.uint8]:
    """Return ``images [B, 3, H, W]`` in [0, 1] as RGB ``[B, H, W, 3]`` in 0 … 255."""
    scaled = (images.detach().float().clamp(0, 1) * 255).round().byte()
    array: NDArray[np.uint8] = scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return array
