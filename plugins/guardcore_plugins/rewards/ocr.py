"""Rendered text: how much of the quoted words can be read in the picture?

The rule is Flow-GRPO's (arXiv 2505.05470, text rendering); the reader is RapidOCR with the models
that its package ships, so nothing is downloaded. The published runs read with PaddleOCR's English
models: scores compare within one reader only.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import Field

from guardcore import GuardcoreError, Options, Prompt
from guardcore_plugins.rewards.inputs import PromptError, as_bytes, check_images

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Picture = NDArray[np.uint8]

BLANK = 24
"""An image whose pixels all lie this close to its border's colour (of 255) holds no ink."""


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


class RapidReader:
    """RapidOCR, an image at a time, so that no image's text depends on the batch.

    Raises:
        GuardcoreError: The package is not installed.
    """

    def __init__(self, options: OcrOptions) -> None:
        try:
            from rapidocr_onnxruntime import RapidOCR
        except ImportError as error:
            raise GuardcoreError(
                f"reward ocr: RapidOCR can't be imported ({error}); pip install 'guardcore[ocr]'"
            ) from error
        self._options = options
        # An engine stores how it preprocesses the image it is at: no two threads may share one.
        # A detector side of 128 is what makes 64-pixel images readable, and large ones quick.
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(options.workers):
            self._idle.put(
                RapidOCR(
                    intra_op_num_threads=options.threads,
                    inter_op_num_threads=1,
                    det_limit_side_len=128,
                    det_limit_type="min",
                    use_cls=False,
                    text_score=options.confidence,
                )
            )

    def __call__(self, images: Tensor) -> list[str]:
        """Return each image's lines of text, in reading order, joined by spaces."""
        pictures = [picture[:, :, ::-1] for picture in as_bytes(images)]
        with ThreadPoolExecutor(self._options.workers, "ocr") as pool:
            return list(pool.map(self._read, pictures))

    def _read(self, bgr: Picture) -> str:
        engine = self._idle.get()
        try:
            if not self._options.detection:
                return self._read_line(engine, _crop_to_ink(bgr))
            lines, _ = engine(bgr)
            return " ".join(text for _, text, _ in lines or ())
        finally:
            self._idle.put(engine)

    def _read_line(self, engine: Any, bgr: Picture | None) -> str:
        if bgr is None:
            return ""
        [[text, confidence]], _ = engine(bgr, use_det=False)
        return str(text) if float(confidence) >= self._options.confidence else ""


def _crop_to_ink(picture: Picture) -> Picture | None:
    """Crop ``[H, W, 3]`` to what differs from its border's colour, with a margin; None if blank.

    Ink is what lies more than half as far from the border's median colour as the farthest pixel.
    """
    import numpy as np

    border = np.concatenate([picture[[0, -1]].reshape(-1, 3), picture[:, [0, -1]].reshape(-1, 3)])
    distance = np.abs(picture - np.median(border, axis=0)).max(axis=2)
    if distance.max() < BLANK:
        return None
    rows, columns = np.nonzero(distance > distance.max() / 2)
    top, bottom = int(rows.min()), int(rows.max()) + 1
    left, right = int(columns.min()), int(columns.max()) + 1
    margin = max(2, (bottom - top) // 5)
    return picture[
        max(top - margin, 0) : bottom + margin, max(left - margin, 0) : right + margin
    ].copy()


def ocr(options: OcrOptions) -> TextRendering:
    """Read the image with RapidOCR and compare with the text that the prompt wants in it."""
    return TextRendering(RapidReader(options), options.metadata_key)
