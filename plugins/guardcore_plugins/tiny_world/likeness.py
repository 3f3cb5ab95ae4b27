"""Drawn likeness: how much does a picture look like a drawn scene, whatever it shows?

No network: a Mahalanobis distance between the picture's statistics and those of drawings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from guardcore import Prompt
from guardcore_plugins.rewards.inputs import as_bytes, check_images
from guardcore_plugins.tiny_world.appearance import GRAIN, describe
from guardcore_plugins.tiny_world.drawing import SIZE, Picture, draw
from guardcore_plugins.tiny_world.scenes import draw_scene

DRAWINGS = 400  # a second's work


class DrawnLikeness:
    """The reward: ``1/(1 + (d/half)²)``, 1 for what can't be told from a drawing.

    ``d² = (s − m)ᵀ (C + diag(grain²))⁻¹ (s − m) / n`` for the picture's n statistics s, with the
    mean m and covariance C of drawings; grain, the deviation that counts as nothing, keeps what
    never varies in drawings (a flat ground) from deciding alone. Drawings have d of about 0.6.

    Args:
        tags: The tasks whose scenes are drawn.
        half: The d at which the score is 0.5.
    """

    def __init__(self, tags: Sequence[str], half: float) -> None:
        drawn = np.array([describe(picture) for picture in drawings(tags, DRAWINGS)])
        self._mean = drawn.mean(0)
        self._spread = np.cov(drawn.T) + np.diag(np.square(list(GRAIN.values())))
        self._half = half

    def __call__(self, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """Return one score in (0, 1] an image, float32 on the CPU ``[B]``.

        Raises:
            ValueError: The images are not of the drawings' size.
        """
        check_images(images, prompts)
        if tuple(images.shape[2:]) != (SIZE, SIZE):
            raise ValueError(
                f"expected images of {SIZE}×{SIZE} pixels, as drawn scenes are, "
                f"received {list(images.shape)}"
            )
        distances = [self.distance(picture) for picture in as_bytes(images)]
        scores = [1 / (1 + (d / self._half) ** 2) for d in distances]
        return torch.tensor(scores, dtype=torch.float32)

    def distance(self, picture: Picture) -> float:
        """Return d for ``picture [64, 64, 3]``."""
        offset = describe(picture) - self._mean
        return float(np.sqrt(offset @ np.linalg.solve(self._spread, offset) / len(offset)))

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


def drawings(tags: Sequence[str], number: int) -> list[Picture]:
    """Draw scenes of the training captions, tags in turn; always the same."""
    generators = [np.random.default_rng([7, index]) for index in range(number)]
    return [
        draw(rng, draw_scene(rng, tags[index % len(tags)], "train"))
        for index, rng in enumerate(generators)
    ]
