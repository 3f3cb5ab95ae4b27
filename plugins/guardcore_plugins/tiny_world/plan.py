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
class Lessons:
    """How one model is taught.

    Captions are right at first, which teaches the words far sooner. `mistakes` says from which
    step on which shares of them are wrong: of scenes' and of numbers'. The first of the cosines
    teaches, the others settle how often the model follows a caption.
    """

    cosines: tuple[Cosine, ...]
    mistakes: Mapping[int, tuple[float, float]] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Length of all cosines."""
        return sum(cosine.steps for cosine in self.cosines)


@dataclass(frozen=True)
class Plan:
    """The sizes of a training run; rates are AdamW's, lengths in steps, batches in pictures.

    FLUX learns guidance after `flux`, from itself.
    """

    seed: int = 0
    corpus: int = 40_000
    vae_steps: int = 1000
    vae_batch: int = 24
    vae_rate: float = 1.5e-3
    sd3: Lessons = Lessons(
        (Cosine(6500, 1.5e-3, 200), Cosine(2000, 8e-4, 50), Cosine(800, 8e-4, 50)),
        {3900: (0.45, 0.35), 4600: (0.25, 0.35), 6500: (0.1, 0.6), 8500: (0.1, 0.85)},
    )
    flux: Lessons = Lessons(
        (Cosine(5000, 1.5e-3, 200), Cosine(1500, 8e-4, 50)),
        {3000: (0.35, 0.35), 5000: (0.1, 0.6), 5800: (0.1, 0.85)},
    )
    flux_guidance: Lessons = Lessons((Cosine(1500, 8e-4, 50),))
    flow_batch: int = 128
    decay: float = 0.999
    dropout: float = 0.1
    save_every: int = 200
    export_every: int = 1000
    widths: Widths = field(default_factory=Widths)


SMOKE = Plan(
    corpus=48,
    vae_steps=3,
    vae_batch=4,
    sd3=Lessons((Cosine(2, 1e-3, 1), Cosine(1, 1e-3, 1))),
    flux=Lessons((Cosine(2, 1e-3, 1),)),
    flux_guidance=Lessons((Cosine(2, 1e-3, 1),)),
    flow_batch=4,
    save_every=2,
    export_every=2,
    widths=Widths(vae_channels=(8, 8, 8, 8), text_width=32, heads=1, layers=2, flux_layers=(1, 1)),
)
