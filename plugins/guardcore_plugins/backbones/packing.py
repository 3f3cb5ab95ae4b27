"""FLUX's packed latents: a token is a square of 2 by 2 latents, all channels of it."""

from __future__ import annotations

import torch
from torch import Tensor


def unpack(x: Tensor, rows: int, columns: int) -> Tensor:
    """Return latents ``[B, C, 2·rows, 2·columns]`` of tokens ``[B, rows·columns, 4·C]``."""
    batch, _, features = x.shape
    squares = x.reshape(batch, rows, columns, features // 4, 2, 2)
    return squares.permute(0, 3, 1, 4, 2, 5).reshape(batch, -1, 2 * rows, 2 * columns)


def position_ids(rows: int, columns: int, device: torch.device) -> Tensor:
    """Return ``[rows·columns, 3]``, float32: 0, row and column of each token, row by row."""
    zero, row, column = (torch.arange(n, dtype=torch.float32) for n in (1, rows, columns))
    return torch.cartesian_prod(zero, row, column).to(device)
