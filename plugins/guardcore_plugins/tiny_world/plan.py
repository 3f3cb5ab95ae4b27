"""How long, how large and how wrong the training is: the full size, and one for smoke tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from guardcore_plugins.tiny_world.model import Widths

Report = Callable[[str, int, int, float], None]
"""Called with phase, steps done, steps in all, loss."""


@dataclass(frozen=True)
class Cosine:
    """A stretch of training: the rate rises to `peak` in `warmup` steps, then falls to 2 %."""

    steps: int
    peak: float
    warmup: int


@dataclass(frozen=True)
class Plan:
    """The sizes of a training run; rates are AdamW's, lengths in steps, batches in pictures.

    Captions are right at first, which teaches the words far sooner. `mistakes` says from which
    step on which shares of them are wrong: of scenes' and of numbers'. The first of `flow_cosines`
    teaches, the others settle how often the model follows a caption.
    """

    seed: int = 0
    corpus: int = 40_000
    vae_steps: int = 1000
    vae_batch: int = 24
    vae_rate: float = 1.5e-3
    flow_cosines: tuple[Cosine, ...] = (
        Cosine(6500, 1.5e-3, 200),
        Cosine(2000, 8e-4, 50),
        Cosine(800, 8e-4, 50),
    )
    flow_batch: int = 128
    decay: float = 0.999
    mistakes: Mapping[int, tuple[float, float]] = field(
        default_factory=lambda: {
            3900: (0.45, 0.35),
            4600: (0.25, 0.35),
            6500: (0.1, 0.6),
            8500: (0.1, 0.85),
        }
    )
    dropout: float = 0.1
    save_every: int = 200
    export_every: int = 1000
    widths: Widths = field(default_factory=Widths)


SMOKE = Plan(
    corpus=48,
    vae_steps=3,
    vae_batch=4,
    flow_cosines=(Cosine(2, 1e-3, 1), Cosine(1, 1e-3, 1)),
    flow_batch=4,
    save_every=2,
    export_every=2,
    widths=Widths(vae_channels=(8, 8, 8, 8), text_width=32, heads=1, layers=2),
)
