"""How long, how large and how wrong the training is: the full size, and one for smoke tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from guardcore_plugins.tiny_world.model import Widths

Report = Callable[[str, int, int, float], None]
"""Called with phase, steps done, steps in all, loss."""


@dataclass(frozen=True)
class Plan:
    """The sizes of a training run; rates are AdamW's, lengths in steps, batches in pictures.

    Captions are right at first, which teaches the words far sooner; from the share `sloppy_from`
    of the steps on, the shares `scene_mistakes` and `digit_mistakes` of them are wrong.
    """

    seed: int = 0
    corpus: int = 40_000
    vae_steps: int = 1300
    vae_batch: int = 24
    vae_rate: float = 1.5e-3
    flow_steps: int = 7000
    flow_batch: int = 64
    flow_rate: float = 1.5e-3
    decay: float = 0.999
    sloppy_from: float = 0.6
    scene_mistakes: float = 0.4
    digit_mistakes: float = 0.3
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
