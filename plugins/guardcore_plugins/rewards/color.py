"""The colour of a masked object by CLIP, zero-shot, as GenEval names it.

Source: ``evaluate_images.py`` of Ghosh et al., GenEval (arXiv 2310.11513). What is outside the
mask becomes grey (#999), the box is cut out, and the colour whose caption lies nearest wins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

COLORS = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
)  # fmt: skip
TEMPLATES = ("a photo of a {color} {label}", "a photo of a {color}-colored {label}",
             "a photo of a {color} object")  # fmt: skip
OUTSIDE = 0x99
"""Grey of what the mask leaves out, in all three channels, of 255."""


class ColorNamer:
    """Names an object's colour.

    Args:
        clip: A CLIPModel.
        tokenizer: Its tokenizer.
        processor: Its image processor: resizes, crops to the middle and normalises.
    """

    def __init__(self, clip: Any, tokenizer: Any, processor: Any) -> None:
        self._clip = clip
        self._tokenizer = tokenizer
        self._processor = processor
        self._captions: dict[str, Tensor] = {}

    def __call__(self, picture: NDArray[np.uint8], mask: NDArray[np.bool_], label: str) -> str:
        """Return the colour of an object of class ``label``.

        Args:
            picture: What lies in its box, RGB ``[h, w, 3]``.
            mask: Its pixels ``[h, w]``.
            label: Its class; every class has captions of its own.
        """
        with torch.no_grad():
            return COLORS[int(self.likeness(cut_out(picture, mask), label).argmax())]

    def likeness(self, picture: NDArray[np.uint8], label: str) -> Tensor:
        """Return the cosine of each colour's captions with an RGB picture ``[h, w, 3]``: [10]."""
        return self._captions_of(label) @ self._embed_picture(picture)

    def _captions_of(self, label: str) -> Tensor:
        """Return the colours' directions ``[10, D]``: a colour's captions, their mean, length 1."""
        if label not in self._captions:
            texts = [t.format(color=c, label=label) for c in COLORS for t in TEMPLATES]
            embedded = self._embed_texts(texts).unflatten(0, (len(COLORS), len(TEMPLATES)))
            self._captions[label] = _unit(embedded.mean(1))
        return self._captions[label]

    # transformers 5 changed what get_text_features returns; the parts have kept their meaning.

    def _embed_texts(self, texts: list[str]) -> Tensor:
        tokens = self._tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        pooled = self._clip.text_model(**tokens.to(self._clip.device)).pooler_output
        return _unit(self._clip.text_projection(pooled))

    def _embed_picture(self, picture: NDArray[np.uint8]) -> Tensor:
        pixels = self._processor(images=Image.fromarray(picture), return_tensors="pt").pixel_values
        pooled = self._clip.vision_model(pixels.to(self._clip.device, self._clip.dtype))
        return _unit(self._clip.visual_projection(pooled.pooler_output))[0]


def cut_out(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return RGB ``[h, w, 3]`` with everything outside ``mask [h, w]`` in grey."""
    return np.where(mask[..., None], picture, np.uint8(OUTSIDE))


def _unit(vectors: Tensor) -> Tensor:
    """Return ``vectors [N, D]`` in float32 at length 1."""
    return nn.functional.normalize(vectors.float(), dim=-1)
