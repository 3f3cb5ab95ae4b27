"""How much the images of a group differ: a collapse of the policy shows before it is seen."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

SIDE = 16
"""Pixels a side at which images are compared: what is where, and not its texture."""
FEATURES = 3 * SIDE**2
"""Numbers of a thumbnail."""


def thumbnails(images: Tensor) -> Tensor:
    """Return images ``[B, 3, H, W]`` as mean colours, ``[B, FEATURES]``."""
    return adaptive_avg_pool2d(images, SIDE).flatten(1)


def diversity(pictures: Tensor, groups: Tensor) -> float:
    """Return the mean over groups of the mean distance of two of a group's images.

    Args:
        pictures: ``[N, F]``, as ``thumbnails`` returns them.
        groups: ``[N]``, each image's group; a group has two images at least.

    Returns:
        A root mean square over pixels and channels, in [0, 1].
    """
    numbers = dict.fromkeys(groups.tolist())
    distances = [_mean_distance(pictures[groups == number]) for number in numbers]
    return float(torch.stack(distances).mean())


def _mean_distance(pictures: Tensor) -> Tensor:
    number, features = pictures.shape
    distances = torch.cdist(pictures, pictures, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.sum() / (number * (number - 1) * math.sqrt(features))
