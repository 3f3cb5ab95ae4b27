"""What the tiny preference model learns from: pictures of a scene, of a mistake, and spoilt ones.

Everything is drawn when it is needed, so that no picture comes twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from guardcore_plugins.tiny_world.data import MIX
from guardcore_plugins.tiny_world.drawing import Picture, draw
from guardcore_plugins.tiny_world.scenes import Split, draw_scene, mistake
from guardcore_plugins.tiny_world.spoiling import spoil

_NOISE = 0.02  # deviation of the noise that every training image may carry, of 1
_LIGHT = 0.04  # its brightness changes by at most this, of 1


@dataclass(frozen=True)
class Comparison:
    """One caption, the picture it describes, a spoilt copy, and the picture of a mistake.

    Attributes:
        tag: The task of the scene.
        caption: What the right picture shows.
        right: ``[64, 64, 3]``.
        kind: How the copy was spoilt.
        spoilt: The right picture, spoilt.
        mistaken: The mistake's caption: one attribute away from the scene's.
        wrong: What the mistake's caption describes.
    """

    tag: str
    caption: str
    right: Picture
    kind: str
    spoilt: Picture
    mistaken: str
    wrong: Picture


def compare(rng: np.random.Generator, split: Split) -> Comparison:
    """Draw a comparison; the caption is of the split, the mistake always of training."""
    shares = np.array(list(MIX.values()))
    tag = str(rng.choice(list(MIX), p=shares / shares.sum()))
    scene = draw_scene(rng, tag, split)
    wrong = mistake(rng, scene)
    right, other = draw(rng, scene), draw(rng, wrong)
    kind, spoilt = spoil(rng, right, other)
    return Comparison(tag, scene.caption, right, kind, spoilt, wrong.caption, other)


def as_images(pictures: list[Picture]) -> Tensor:
    """Pictures as images ``[B, 3, 64, 64]`` in [0, 1], as a reward takes them."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def varied(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images with a little noise and another brightness: a decoded image is never as drawn."""
    shape = (len(images), 1, 1, 1)
    deviation = _NOISE * torch.rand(shape, generator=generator)
    light = 1 + _LIGHT * (2 * torch.rand(shape, generator=generator) - 1)
    noise = torch.randn(images.shape, generator=generator)
    return (images * light + deviation * noise).clamp(0, 1)
