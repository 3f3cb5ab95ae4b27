"""BRISQUE: does the picture look like a clean photograph, without another one to compare it with?

Source: Mittal et al., No-Reference Image Quality Assessment in the Spatial Domain (IEEE TIP 2012):
statistics of locally normalised brightness, and a support vector machine that learnt from people
how bad they look. It knows photographs: on flat drawings it is wrong, and may even prefer noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from guardcore import GuardcoreError, Options, Prompt
from guardcore_plugins.rewards.inputs import as_bytes, check_images

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Picture = NDArray[np.uint8]

SMALLEST = 64
"""Pixels a side; at 32, photographs score no better than noise."""

Measure = Callable[["Picture"], float]
"""BRISQUE of RGB ``[H, W, 3]``: 0 is clean, 100 is spoilt."""


class BrisqueOptions(Options):
    """Options of ``brisque``: none."""


class Brisque:
    """The reward: ``1 − BRISQUE/100``, and 0 where that is negative or not a number.

    A clean photograph has about 0.7 to 1.1, a blurred or noisy one 0.3 to 0.5. Whatever lies
    outside of what the machine has learnt, an image of one colour for example, has 0.

    Args:
        measure: Returns the BRISQUE of a picture.
    """

    def __init__(self, measure: Measure) -> None:
        self._measure = measure

    def __call__(self, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """Return one score an image, float32 on the CPU ``[B]``; the prompts don't matter."""
        check_images(images, prompts)
        if min(images.shape[2:]) < SMALLEST:
            raise ValueError(
                f"expected images of at least {SMALLEST}×{SMALLEST} pixels, "
                f"received {list(images.shape)}"
            )
        import torch

        scores = [_goodness(self._measure(picture)) for picture in as_bytes(images)]
        return torch.tensor(scores, dtype=torch.float32)

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


def _goodness(badness: float) -> float:
    """Turn BRISQUE, lower is better, into a score from 0."""
    return 0.0 if math.isnan(badness) else max(0.0, 1 - badness / 100)


def load_measure() -> Measure:
    """Return the package's BRISQUE, with the published machine that it ships.

    Its numbers differ a little from the authors' program: it halves the image without smoothing.
    It reads the range of each feature from a pickle in its own wheel, and no other.

    Raises:
        GuardcoreError: The package is not installed.
    """
    import numpy as np

    try:
        from brisque import BRISQUE
    except ImportError as error:
        raise GuardcoreError(
            f"reward brisque: the package can't be imported ({error}); "
            "pip install 'guardcore[brisque]'"
        ) from error

    class PlainFeatures(BRISQUE):  # type: ignore[misc] # the package has no types
        """BRISQUE 0.2 leaves some features in arrays of one, which numpy 2.4 makes no floats of."""

        def scale_features(self, features: Any) -> Any:
            return super().scale_features([np.asarray(feature).item() for feature in features])

    machine = PlainFeatures()

    def measure(picture: Picture) -> float:
        with np.errstate(all="ignore"):  # 0/0 where nothing varies
            return float(machine.score(picture))

    return measure


def brisque(options: BrisqueOptions) -> Brisque:
    """Judge by BRISQUE how clean a photograph looks: noise, blur, blocks; no drawings."""
    return Brisque(load_measure())
