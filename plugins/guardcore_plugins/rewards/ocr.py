"""Rendered text: how much of the quoted words can be read in the picture?

The rule is Flow-GRPO's (arXiv 2505.05470, text rendering); the reader is one of two RapidOCRs with
the models that its package ships, so nothing is downloaded. The published runs read with
PaddleOCR's English models: scores compare within one reader only. Train on one and look with the
other: what only one of them can read is drawn for the judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import Field

from guardcore import Options, Prompt
from guardcore_plugins.rewards.inputs import PromptError, check_images

if TYPE_CHECKING:
    from torch import Tensor

Engine = Literal["rapidocr-onnxruntime", "rapidocr"]


class TextReader(Protocol):
    """Whatever reads text in images."""

    def __call__(self, images: Tensor, /) -> Sequence[str]:
        """Return the text in each of ``images [B, 3, H, W]``, in [0, 1]; empty where none is."""


def target(prompt: str) -> str:
    """Return what the picture should say: the text between the first pair of double quotes.

    Raises:
        PromptError: There is no such pair, or nothing but spaces in it.
    """
    parts = prompt.split('"', 2)
    if len(parts) < 3 or not _plain(parts[1]):
        raise PromptError(f'prompt {prompt!r}: no text in a pair of straight double quotes ("…")')
    return parts[1]


def target_in_metadata(prompt: Prompt, key: str) -> str:
    """Return what the picture should say: the text under ``key`` in the prompt's metadata.

    Raises:
        PromptError: There is none, or nothing but spaces.
    """
    text = prompt.metadata.get(key)
    if not isinstance(text, str) or not _plain(text):
        raise PromptError(
            f"prompt {prompt.text!r}: its metadata must hold the text to draw under {key!r}, "
            f"received {text!r}; 'metadata_key: null' takes it from the prompt's quotes"
        )
    return text


def score_text(recognised: str, prompt: str) -> float:
    """Score recognised text against the text that the prompt quotes; 1 is best, 0 worst."""
    return score_target(recognised, target(prompt))


def score_target(recognised: str, wanted: str) -> float:
    """Score recognised text against the text to draw; 1 is best, 0 worst.

    Both sides lower-case and without spaces: 1 where the target is contained, else
    ``1 - min(edit distance, length)/length`` with the target's length in characters.
    """
    wanted, seen = _plain(wanted), _plain(recognised)
    if wanted in seen:
        return 1.0
    return 1 - min(_edit_distance(seen, wanted), len(wanted)) / len(wanted)


def _plain(text: str) -> str:
    """Drop what the rule does not look at: case and U+0020, but no other white space."""
    return text.replace(" ", "").lower()


def _edit_distance(a: str, b: str) -> int:
    """Return Levenshtein's distance: insertions, deletions and substitutions cost 1 each."""
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(b, start=1):
            cost = min(row[j] + 1, row[j - 1] + 1, diagonal + (letter != other))
            diagonal, row[j] = row[j], cost
    return row[-1]


class TextRendering:
    """The reward: Flow-GRPO's rule over any reader of text.

    Args:
        reader: Reads the text in a batch of images.
        metadata_key: Of the prompts' metadata, where the text to draw stands; None: in the
            prompt's first pair of double quotes.
    """

    def __init__(self, reader: TextReader, metadata_key: str | None = None) -> None:
        self._reader = reader
        self._key = metadata_key

    def __call__(self, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """Return one score in [0, 1] an image, float32 on the CPU ``[B]``."""
        check_images(images, prompts)
        import torch

        wanted = [self._target(prompt) for prompt in prompts]  # before the slow part
        pairs = zip(self._reader(images), wanted, strict=True)
        return torch.tensor([score_target(*pair) for pair in pairs], dtype=torch.float32)

    def close(self) -> None:
        """Do nothing: the reader belongs to whoever made it."""

    def _target(self, prompt: Prompt) -> str:
        return target(prompt.text) if self._key is None else target_in_metadata(prompt, self._key)


class OcrOptions(Options):
    """Options of ``ocr``."""

    engine: Engine = Field(
        "rapidocr-onnxruntime",
        description="what reads; rapidocr-onnxruntime: PP-OCRv4, extra ocr, Python below 3.13; "
        "rapidocr: the package's version 3, PP-OCRv6, extra rapidocr, half as quick "
        "with detection",
    )
    metadata_key: str | None = Field(
        None,
        description="key of the prompt's metadata under which the text to draw stands; null: it "
        "is what the prompt quotes, in its first pair of double quotes",
    )
    workers: int = Field(
        1, ge=1, description="images read at the same time, each by a reader of its own (40 MB)"
    )
    threads: int = Field(2, ge=1, description="threads that reading one image uses")
    detection: bool = Field(
        True,
        description="find lines of text first; off: read the whole image as one line, cropped to "
        "its ink, twice as fast and fit for text on a plain background only",
    )
    confidence: float = Field(
        0.5, ge=0, le=1, description="lines read with less confidence than this are dropped"
    )


def ocr(options: OcrOptions) -> TextRendering:
    """Read the image with RapidOCR and compare with the text that the prompt wants in it."""
    from guardcore_plugins.rewards.ocr_readers import RapidReader

    return TextRendering(RapidReader(options), options.metadata_key)
