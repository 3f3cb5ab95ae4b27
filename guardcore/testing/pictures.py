"""Images for the checks: drawn ones that any judge can look at, and those at the edge of the range.

Each depends on its name and size alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from guardcore import noise
from guardcore.prompt import Prompt

PROMPTS = (
    Prompt(
        'a red disc and the word "one"',
        {"tag": "single_object", "include": [{"class": "clock", "count": 1}]},
    ),
    Prompt(
        'a blue square and the word "two"',
        {"tag": "single_object", "include": [{"class": "book", "count": 1}]},
    ),
    Prompt(
        'green stripes and the word "three"',
        {"tag": "single_object", "include": [{"class": "kite", "count": 1}]},
    ),
)
"""With a text to render in quotes and GenEval's metadata: what widespread judges ask for."""

Drawing = Callable[[Tensor, Tensor], Tensor]
"""From rows and columns, ``[H, W]`` in [-1, 1], to an image ``[3, H, W]``."""


def _on_white(shape: Tensor, colour: tuple[float, float, float]) -> Tensor:
    return torch.where(shape, torch.tensor(colour)[:, None, None], torch.ones(3, 1, 1))


def _flat(level: float) -> Drawing:
    return lambda y, x: torch.full((3, *y.shape), level)


def _noisy(y: Tensor, x: Tensor) -> Tensor:
    generator = noise.generator(0, 0, "picture")
    return torch.rand(3, *y.shape, generator=generator)


def _between_bytes(y: Tensor, x: Tensor) -> Tensor:
    """Levels (k + 1/2)/255: where rounding to a byte goes either way."""
    count = torch.arange(y.numel()).reshape(y.shape)
    return torch.stack([(count + offset) % 255 + 0.5 for offset in (0, 85, 170)]) / 255


DRAWN: Mapping[str, Drawing] = {
    "disc": lambda y, x: _on_white(y**2 + x**2 < 0.4, (0.9, 0.1, 0.1)),
    "square": lambda y, x: _on_white((y.abs() < 0.5) & (x.abs() < 0.5), (0.1, 0.2, 0.8)),
    "stripes": lambda y, x: _on_white((8 * x).floor() % 2 == 0, (0.1, 0.6, 0.2)),
    "gradient": lambda y, x: torch.stack([(1 + x) / 2, (1 + y) / 2, (1 - x) / 2]),
}
"""What a model may draw."""

EXTREME: Mapping[str, Drawing] = {
    "black": _flat(0.0),
    "white": _flat(1.0),
    "grey": _flat(0.5),
    "red": lambda y, x: torch.stack([torch.ones_like(y), torch.zeros_like(y), torch.zeros_like(y)]),
    "noise": _noisy,
    "checkerboard": lambda y, x: (
        (torch.arange(y.numel()).reshape(y.shape) % 2).expand(3, -1, -1).float()
    ),
    "between bytes": _between_bytes,
}
"""What a model draws before it has learnt, or after it has come apart."""


@dataclass(frozen=True)
class Batch:
    """Images by name, all of one size in pixels."""

    names: tuple[str, ...]
    height: int
    width: int

    def __repr__(self) -> str:
        return f"{', '.join(self.names)} at {self.height}×{self.width}"

    def __len__(self) -> int:
        return len(self.names)

    @property
    def images(self) -> Tensor:
        """``[B, 3, H, W]`` in [0, 1], float32."""
        y, x = torch.meshgrid(
            torch.linspace(-1, 1, self.height), torch.linspace(-1, 1, self.width), indexing="ij"
        )
        return torch.stack([(DRAWN | EXTREME)[name](y, x) for name in self.names])  # type: ignore[operator]
