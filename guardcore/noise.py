"""Every random draw of a run, by what it is for.

A draw depends on (seed, iteration, purpose, sample) alone and is made on the CPU: neither
batching, nor resuming, nor the number of processes changes it, and nothing has to be saved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def generator(seed: int, iteration: int, purpose: str, sample: int = 0) -> torch.Generator:
    """Return the CPU generator of one purpose."""
    key = f"{seed}/{iteration}/{purpose}/{sample}".encode()
    number = int.from_bytes(hashlib.sha256(key).digest()[:8], "little") >> 1
    return torch.Generator().manual_seed(number)


def draw(
    shape: Sequence[int], seed: int, iteration: int, purpose: str, samples: Iterable[int]
) -> Tensor:
    """Return standard normal noise ``[len(samples), *shape]``, float32 on the CPU."""
    return torch.stack(
        [
            torch.randn(tuple(shape), generator=generator(seed, iteration, purpose, sample))
            for sample in samples
        ]
    )
