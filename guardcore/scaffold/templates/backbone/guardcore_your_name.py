"""A colour for every word as a backbone: the smallest flow model that can be trained.

A prompt's images are ``x0 ~ N(colour, spread²)``, where ``colour`` is the mean of a trained table's
rows over the prompt's words. The flow from noise to a Gaussian is known, so this needs no network::

    away     = (x − (1 − sigma)·colour) / ((1 − sigma)²·spread² + sigma²)
    velocity = E[noise − x0 | x] = sigma·away − colour − (1 − sigma)·spread²·away

To bring a real model, load it in ``__init__`` and let these methods call it.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from guardcore import Condition, Options, Prompt, Registrar, Schedule, hookimpl, per_row
from pydantic import Field

if TYPE_CHECKING:  # torch is imported where it is used, so that listing plugins stays quick
    from torch import Tensor
    from torch.nn import Parameter

PATCH = 8
"""Pixels that one latent becomes, in each direction."""

ROWS = 256
"""Of the table; a word's row is its checksum's remainder."""

FILE = "your-name.safetensors"


class YourNameOptions(Options):
    """What the model's images look like before any training."""

    spread: float = Field(
        0.5, gt=0, description="standard deviation of a pixel; the range of an image is 2"
    )


class YourNameBackbone:
    """Latents are colours in about [−1, 1], ``[B, 3, H/8, W/8]``."""

    def __init__(self, options: YourNameOptions) -> None:
        import torch

        self.spread = options.spread
        self.table = torch.nn.Parameter(torch.zeros(ROWS, 3))
        self._trained = True

    def encode(self, prompts: Sequence[Prompt], height: int, width: int) -> Condition:
        """Return each prompt's words as shares ``[B, ROWS]`` that add up to 1."""
        import torch

        words = torch.zeros(len(prompts), ROWS)
        for row, prompt in zip(words, prompts, strict=True):
            for word in prompt.text.lower().split():
                row[zlib.crc32(word.encode()) % ROWS] += 1
        shares = words / words.sum(1, keepdim=True).clamp(min=1)
        return Condition({"words": shares}, height, width)

    def schedule(self, steps: int, height: int, width: int) -> Schedule:
        """Return even steps from 1 to 0."""
        import torch

        return Schedule(torch.linspace(1, 0, steps + 1))

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return the shape of one row of latents."""
        if height % PATCH or width % PATCH:
            raise ValueError(f"sizes are multiples of {PATCH}, received {height}x{width}")
        return (3, height // PATCH, width // PATCH)

    def velocity(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Return ``E[noise − x0 | x]`` at ``x [B, 3, h, w]``, ``sigma [B]``."""
        words = condition.tensors["words"]
        table = self.table if self._trained else self.table.detach().new_zeros(ROWS, 3)
        colour = (words @ table)[:, :, None, None]  # [B, 3, 1, 1]
        sigma = per_row(sigma, x)
        clean = 1 - sigma
        away = (x - clean * colour) / (clean**2 * self.spread**2 + sigma**2)
        return sigma * away - colour - clean * self.spread**2 * away

    def decode(self, x: Tensor, condition: Condition) -> Tensor:
        """Return images ``[B, 3, H, W]`` in [0, 1]."""
        pixels = x.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)
        return (pixels / 2 + 0.5).clamp(0, 1)

    def trainable(self) -> Mapping[str, Parameter]:
        """Return the table."""
        return {"table": self.table}

    @contextlib.contextmanager
    def reference(self) -> Iterator[None]:
        """Inside, every word is grey, as before any training."""
        self._trained = False
        try:
            yield
        finally:
            self._trained = True

    def save_adapter(self, directory: Path) -> None:
        """Write the table."""
        from safetensors.torch import save_file

        directory.mkdir(parents=True, exist_ok=True)
        save_file({"table": self.table.detach()}, directory / FILE)

    def load_adapter(self, directory: Path) -> None:
        """Read the table."""
        from safetensors.torch import load_file

        self.table.data.copy_(load_file(directory / FILE)["table"])


def your_name_backbone(options: YourNameOptions) -> YourNameBackbone:
    """A colour for every word: a flow model with a closed formula, on the CPU."""
    return YourNameBackbone(options)


@hookimpl
def guardcore_register_backbones(register: Registrar) -> None:
    """Register the one backbone."""
    register("your-name", your_name_backbone)
