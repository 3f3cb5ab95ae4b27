"""How long, how large and how wrong the training is: the full size, and one for smoke tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from guardcore_plugins.tiny_world.model import Widths

Report = Callable[[str, int, int, float], None]
"""Called with phase, steps done, steps in all, loss."""


@dataclass(frozen=True)
class Plan:
    """The sizes of a training run; rates are AdamW's, lengths in steps, batches in pictures.

    Captions are right at first, which teaches the words far sooner. `mistakes` says from which
    step on which shares of them are wrong: of scenes' and of numbers'.
    """

    seed: int = 0
    corpus: int = 40_000
    vae_steps: int = 1000
    vae_batch: int = 24
    vae_rate: float = 1.5e-3
    flow_steps: int = 6500
    flow_batch: int = 128
    flow_rate: float = 1.5e-3
    decay: float = 0.999
    mistakes: Mapping[int, tuple[float, float]] = field(
        default_factory=lambda: {3900: (0.45, 0.35), 4600: (0.25, 0.35)}
    )
    dropout: float = 0.1
    save_every: int = 200
    export_every: int = 1000
    widths: Widths = field(default_factory=Widths)


SMOKE = Plan(
    corpus=48,
    vae_steps=3,
    vae_batch=4,
    flow_steps=3,
    flow_batch=4,
    save_every=2,
    export_every=2,
    widths=Widths(vae_channels=(8, 8, 8, 8), text_width=32, heads=1, layers=2),
)
