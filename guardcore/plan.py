"""What an iteration will do, decided before it begins: prompts, micro-batches, shares.

Nothing here asks for divisibility: the last micro-batch may be short.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import cycle

import torch

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


def refill_prompts(number: int, drawn: Collection[int], seed: int, iteration: int) -> Iterator[int]:
    """Yield prompts for an iteration's refilling, without end, in an order of its own.

    Those first that it has not ``drawn`` itself, then all again.
    """
    order = torch.randperm(number, generator=generator(seed, iteration, "refill")).tolist()
    taken = set(drawn)
    yield from (prompt for prompt in order if prompt not in taken)
    yield from cycle(order)


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
