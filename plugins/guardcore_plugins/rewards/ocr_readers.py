"""Readers of text for the ocr reward: two generations of RapidOCR, and what both need.

Both packages bring their models, which are named to them by path, so that nothing is downloaded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from guardcore import GuardcoreError
from guardcore_plugins.rewards.inputs import as_bytes
from guardcore_plugins.rewards.ocr import Engine, OcrOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Picture = NDArray[np.uint8]

BLANK = 24
"""An image whose pixels all lie this close to its border's colour (of 255) holds no ink."""

DETECTOR_SIDE = 128
"""Pixels to which a smaller image is enlarged: makes 64 pixels readable, and large ones quick."""

INSTALL_RAPID = "pip install 'guardcore[rapidocr]'"

Line = tuple[str, float]
"""A text, and how sure its reader is of it, in [0, 1]."""


class LineReader(Protocol):
    """One engine, for one thread at a time."""

    def find(self, bgr: Picture, /) -> list[str]:
        """Return the lines of text in an image ``[H, W, 3]``, those that it is sure of."""

    def read(self, bgr: Picture, /) -> Line:
        """Read an image as one line."""


class RapidReader:
    """Reads an image at a time, so that no image's text depends on the batch.

    Args:
        options: What to read with.

    Raises:
        GuardcoreError: The package is not installed, or lacks its models.
    """

    def __init__(self, options: OcrOptions) -> None:
        # Both packages set the level of this logger when they are imported, the later one wins,
        # and one of them warns of every image without text. Their failures are raised.
        logging.getLogger("RapidOCR").disabled = True
        self._options = options
        # An engine stores how it preprocesses the image it is at: no two threads may share one.
        self._idle: SimpleQueue[LineReader] = SimpleQueue()
        for _ in range(options.workers):
            self._idle.put(ENGINES[options.engine](options))

    def __call__(self, images: Tensor) -> list[str]:
        """Return each image's lines of text, in reading order, joined by spaces."""
        pictures = [picture[:, :, ::-1] for picture in as_bytes(images)]
        with ThreadPoolExecutor(self._options.workers, "ocr") as pool:
            return list(pool.map(self._read, pictures))

    def _read(self, bgr: Picture) -> str:
        engine = self._idle.get()
        try:
            if self._options.detection:
                return " ".join(engine.find(bgr))
            ink = _crop_to_ink(bgr)
            text, confidence = ("", 0.0) if ink is None else engine.read(ink)
            return text if confidence >= self._options.confidence else ""
        finally:
            self._idle.put(engine)


class RapidOcr1:
    """The package rapidocr-onnxruntime 1.4, PP-OCRv4."""

    def __init__(self, options: OcrOptions) -> None:
        try:
            from rapidocr_onnxruntime import RapidOCR
        except ImportError as error:
            raise GuardcoreError(
                f"reward ocr: RapidOCR can't be imported ({error}); pip install 'guardcore[ocr]' "
                "(Python 3.11 or 3.12), or take 'engine: rapidocr'"
            ) from error
        self._engine: Any = RapidOCR(
            intra_op_num_threads=options.threads,
            inter_op_num_threads=1,
            det_limit_side_len=DETECTOR_SIDE,
            det_limit_type="min",
            use_cls=False,
            text_score=options.confidence,
        )

    def find(self, bgr: Picture) -> list[str]:
        """Return the lines of text that it is sure of."""
        lines, _ = self._engine(bgr)
        return [text for _, text, _ in lines or ()]

    def read(self, bgr: Picture) -> Line:
        """Read an image as one line."""
        [[text, confidence]], _ = self._engine(bgr, use_det=False)
        return str(text), float(confidence)


class RapidOcr3:
    """The package rapidocr 3, PP-OCRv6."""

    def __init__(self, options: OcrOptions) -> None:
        try:
            import onnxruntime  # noqa: F401 - rapidocr does not ask for it, and fails late
            import rapidocr
            from rapidocr import RapidOCR
        except ImportError as error:
            raise GuardcoreError(
                f"reward ocr: RapidOCR 3 can't be imported ({error}); {INSTALL_RAPID}"
            ) from error
        models = Path(rapidocr.__file__).parent / "models"
        self._engine: Any = RapidOCR(
            params={
                "EngineConfig.onnxruntime.intra_op_num_threads": options.threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                "Det.model_path": _shipped(models / "PP-OCRv6_det_small.onnx"),
                "Det.limit_side_len": DETECTOR_SIDE,
                "Rec.model_path": _shipped(models / "PP-OCRv6_rec_small.onnx"),
                "Global.use_cls": False,
                "Global.text_score": options.confidence,
            }
        )

    def find(self, bgr: Picture) -> list[str]:
        """Return the lines of text that it is sure of."""
        return list(self._engine(bgr, use_det=True).txts or ())

    def read(self, bgr: Picture) -> Line:
        """Read an image as one line."""
        found = self._engine(bgr, use_det=False)
        return str(found.txts[0]), float(found.scores[0])


ENGINES: Mapping[Engine, Callable[[OcrOptions], LineReader]] = {
    "rapidocr-onnxruntime": RapidOcr1,
    "rapidocr": RapidOcr3,
}


def _shipped(model: Path) -> str:
    """Return a model's path as the package takes it; where it has none, it would download one."""
    if not model.is_file():
        raise GuardcoreError(f"reward ocr: rapidocr came without {model.name}; {INSTALL_RAPID}")
    return str(model)


def _crop_to_ink(picture: Picture) -> Picture | None:
    """Crop ``[H, W, 3]`` to what differs from its border's colour, with a margin; None if blank.

    Ink is what lies more than half as far from the border's median colour as the farthest pixel.
    """
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
