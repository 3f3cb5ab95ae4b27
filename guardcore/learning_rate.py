"""The learning rate of each update: AdamW's, warmed up and brought down."""

from __future__ import annotations

import math
from collections.abc import Callable

from guardcore.config import Train

_DOWN: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}
"""The part of the rate that is left, when so much of the updates after the warm-up is done."""


def learning_rate(config: Train, updates: int) -> float:
    """Return the rate of the update that follows ``updates`` others.

    It depends on the number of updates alone, so a resumed run has no schedule to restore. As in
    diffusers' ``get_scheduler``, but the first update of a warm-up has a step's rate, not 0.
    """
    warm_up = config.lr_warmup_steps
    if updates < warm_up:
        return config.learning_rate * (updates + 1) / warm_up
    last = config.iterations * config.updates_per_iteration
    done = min(1.0, (updates - warm_up) / max(1, last - warm_up))
    return config.learning_rate * _DOWN[config.lr_scheduler](done)
