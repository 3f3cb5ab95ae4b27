"""Metrics and images as TensorBoard's event files, through ``torch.utils.tensorboard``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardcore import GuardcoreError
from guardcore_plugins.rewards.inputs import as_bytes

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter

_LONGEST = 100
"""Characters of a caption in the name of an image."""


class TensorBoard:
    """Writes event files; each iteration is on the disk when it is over.

    Args:
        directory: Of the event files; None: ``tensorboard`` in the run directory.

    Raises:
        GuardcoreError: The package is not installed.
    """

    def __init__(self, directory: Path | None) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise GuardcoreError(
                f"tensorboard: the package can't be imported ({error}); "
                "pip install 'guardcore[tensorboard]'"
            ) from error
        self._open = SummaryWriter
        self._directory = directory
        self._opened: SummaryWriter | None = None

    def started(self, directory: Path, config: Mapping[str, Any], iteration: int) -> None:
        """Open the files; what an earlier start wrote of later iterations counts no more."""
        folder = self._directory or directory / "tensorboard"
        self._opened = self._open(str(folder), purge_step=iteration + 1)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Write a scalar a figure."""
        writer = self._writer()
        for name, value in values.items():
            if value is not None:
                writer.add_scalar(name, value, step)
        writer.flush()

    def images(self, step: int, name: str, images: Tensor, captions: Sequence[str]) -> None:
        """Write each image under a name with its caption, for an image has no other text."""
        pairs = zip(as_bytes(images), captions, strict=True)
        for place, (pixels, caption) in enumerate(pairs):
            tag = _tag(name, place, caption)
            self._writer().add_image(tag, pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Write what is left, and close the files."""
        if self._opened is not None:
            self._opened.close()

    def _writer(self) -> SummaryWriter:
        if self._opened is None:
            raise GuardcoreError("tensorboard: call started(directory, config, -1) first")
        return self._opened


def _tag(name: str, place: int, caption: str) -> str:
    """Return ``held-out/07 a red disc``: one card a prompt, in order, with a slider over time."""
    text = " ".join(caption.split())
    shown = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return f"{name}/{place:02d} {shown}".rstrip()
