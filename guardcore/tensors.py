"""Rows against latents: the few tensor operations that every formula here uses.

Nothing here imports torch: the operations are methods of the tensors that come in, so a plugin
module stays cheap to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Reduction = Literal["mean", "sum"]
"""Over the D latent dimensions of a row: the published code's mean, or the true density's sum."""


def promote(values: Tensor) -> Tensor:
    """Return half precision as float32; float32 and float64 stay as they are."""
    return values.float() if values.element_size() < 4 else values


def moved(values: Tensor, device: torch.device) -> Tensor:
    """Return ``values`` on ``device``; a copy from the host to CUDA doesn't wait for the device."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def per_row(values: Tensor, like: Tensor) -> Tensor:
    """Shape ``values [B]`` to broadcast over the rows of ``like [B, …]``, in its dtype.

    Without this a ``[B]`` against ``[B, C, H, W]`` broadcasts over the last dimension.
    """
    if values.ndim != 1 or values.shape[0] != like.shape[0]:
        raise ValueError(
            f"expected one value a row, [{like.shape[0]}], received {list(values.shape)}"
        )
    return values.to(like.dtype).reshape(-1, *(1,) * (like.ndim - 1))


def reduce_latents(values: Tensor, reduction: Reduction) -> Tensor:
    """Reduce ``[B, …]`` over all latent dimensions to ``[B]``; never over the batch."""
    flat = values.flatten(1)
    if reduction == "mean":
        return flat.mean(1)
    if reduction == "sum":
        return flat.sum(1)
    raise ValueError(f"reduction must be 'mean' or 'sum', received {reduction!r}")
