"""What an iteration will do, decided before it begins: prompts, micro-batches, trained steps.

Nothing here asks for divisibility: the last micro-batch may be short.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from guardcore.config import Rollout, Window
from guardcore.noise import generator


def draw_prompts(number: int, groups: int, seed: int, iteration: int) -> list[int]:
    """Return the prompts of the iteration's groups: a window of an endless shuffled stream.

    Each pass over the ``number`` prompts has its own order. Iterations count from 1.
    """
    first = (iteration - 1) * groups
    places = range(first, first + groups)
    orders = {
        epoch: torch.randperm(number, generator=generator(seed, epoch, "prompt order")).tolist()
        for epoch in {place // number for place in places}
    }
    return [orders[place // number][place % number] for place in places]


def micro_batches(samples: int, batch_size: int) -> list[range]:
    """Cut ``samples`` into runs of at most ``batch_size``."""
    return [
        range(start, min(start + batch_size, samples)) for start in range(0, samples, batch_size)
    ]


def shares(batches: int, updates: int, mode: str) -> list[range]:
    """Return which micro-batches each update sees: ``"all"`` of them or its ``"share"``."""
    if mode == "all":
        return [range(batches)] * updates
    return [range(batches * u // updates, batches * (u + 1) // updates) for u in range(updates)]


def trainable_steps(rollout: Rollout) -> Sequence[int]:
    """Return every step that some iteration may train, rising; never the last one."""
    steps, end = rollout.train_steps, rollout.num_inference_steps - 1
    if steps == "all":
        return range(end)
    if isinstance(steps, Window):
        return range(steps.from_, end if steps.to is None else steps.to)
    return sorted(steps)


def trained_steps(rollout: Rollout, seed: int, iteration: int) -> Sequence[int]:
    """Return the iteration's stochastic, trained steps: all that may be, or its window of them."""
    window, steps = rollout.train_steps, trainable_steps(rollout)
    if not isinstance(window, Window):
        return steps
    first = 0
    if window.choose == "random":
        places = len(steps) - window.size + 1
        first = int(torch.randint(places, (), generator=generator(seed, iteration, "window")))
    return steps[first : first + window.size]
