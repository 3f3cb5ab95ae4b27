"""From latents to images, by a pipeline's VAE."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def decode_latents(vae: Any, x: Tensor, device: torch.device, together: int) -> Tensor:
    """Return images ``[B, 3, H, W]`` in [0, 1], float32, of latents ``[B, C, h, w]``.

    Args:
        vae: The pipeline's.
        x: The latents.
        device: Where the VAE is.
        together: How many images it decodes at a time.
    """
    x = x.to(device, vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
    parts = [vae.decode(part, return_dict=False)[0] for part in torch.split(x, together)]
    return (torch.cat(parts).float() * 0.5 + 0.5).clamp(0, 1)
