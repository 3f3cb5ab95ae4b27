"""Training data: drawn pictures, and captions of which some are wrong on purpose.

The base model shall have something to unlearn: its pictures are clean, its captions aren't. A
share of the training captions has one attribute changed, so the model follows a prompt only so
often, and reinforcement learning has room.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from guardcore_plugins.tiny_world.drawing import Picture, draw
from guardcore_plugins.tiny_world.scenes import DIGITS, Scene, draw_scene, mistake

MIX: Mapping[str, float] = {
    "single_object": 1.0,
    "two_object": 1.0,
    "counting": 2.0,
    "colors": 1.5,
    "position": 2.0,
    "color_attr": 1.5,
    DIGITS: 3.0,
}
ALTERNATIVES = 6  # wrong captions prepared for each picture


@dataclass(frozen=True)
class Corpus:
    """Pictures `[N, 64, 64, 3]`, and for each its true caption and some wrong ones."""

    pictures: Picture
    captions: list[str]
    wrong: list[list[str]]
    digits: npt.NDArray[np.bool_]


def _scene(rng: np.random.Generator) -> Scene:
    shares = np.array(list(MIX.values()))
    tag = str(rng.choice(list(MIX), p=shares / shares.sum()))
    return draw_scene(rng, tag, "train")


def make_corpus(seed: int, size: int) -> Corpus:
    """A corpus of training scenes; picture i depends only on the seed and i."""
    pictures = np.empty((size, 64, 64, 3), dtype=np.uint8)
    captions, wrong, digits = [], [], np.zeros(size, dtype=bool)
    for index in range(size):
        rng = np.random.default_rng([seed, index])
        scene = _scene(rng)
        pictures[index] = draw(rng, scene)
        captions.append(scene.caption)
        wrong.append([mistake(rng, scene).caption for _ in range(ALTERNATIVES)])
        digits[index] = scene.tag == DIGITS
    return Corpus(pictures, captions, wrong, digits)


def to_images(pictures: Picture) -> Tensor:
    """Pictures as images `[B, 3, H, W]` in [-1, 1], as a VAE takes them."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1.0
