"""The size of the image as a JPEG file: a reward that needs no judge and no download.

Source: Black et al., DDPO (arXiv 2305.13301), compressibility and incompressibility.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from guardcore import Options, Prompt
from guardcore_plugins.rewards.inputs import as_bytes, check_images

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class JpegSizeOptions(Options):
    """Options of ``jpeg-size``."""

    quality: int = Field(95, ge=1, le=100, description="quality of the JPEG file, as PIL counts it")
    prefer: Literal["small", "large"] = Field(
        "small", description="small: minus the size in kB (1000 bytes); large: the size in kB"
    )


class JpegSize:
    """The reward: plus or minus the file's size in kB (1000 bytes)."""

    def __init__(self, options: JpegSizeOptions) -> None:
        self._quality = options.quality
        self._sign = -1.0 if options.prefer == "small" else 1.0

    def __call__(self, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """Return one size an image, float32 on the CPU ``[B]``; the prompts don't matter."""
        check_images(images, prompts)
        import torch

        sizes = [self._sign * _kilobytes(picture, self._quality) for picture in as_bytes(images)]
        return torch.tensor(sizes, dtype=torch.float32)

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


def _kilobytes(picture: NDArray[np.uint8], quality: int) -> float:
    """Return the JPEG size of RGB ``[H, W, 3]`` in units of 1000 bytes."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(picture).save(file, format="JPEG", quality=quality)
    return file.tell() / 1000


def jpeg_size(options: JpegSizeOptions) -> JpegSize:
    """Measure the image's size as a JPEG file, in kB."""
    return JpegSize(options)
