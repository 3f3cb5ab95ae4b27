"""Training of the tiny autoencoder, and the encoding of a corpus with it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from guardcore_plugins.tiny_world import checkpoint
from guardcore_plugins.tiny_world.data import to_images
from guardcore_plugins.tiny_world.drawing import Picture
from guardcore_plugins.tiny_world.plan import Plan, Report

EDGE = 4.0  # extra weight of pixels at an edge
# Weight of the KL divergence per latent dimension: enough that dimensions without use fall silent
# and the decoder bears errors in the others, which is what makes the latents easy to generate.
KL = 5e-3


def rate(step: int, steps: int, warmup: int) -> float:
    """Factor on the learning rate: linear warm-up, then cosine down to 2 %."""
    progress = min(1.0, step / max(1, steps))
    cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
    return min(1.0, (step + 1) / warmup) * cosine


def _edges(images: Tensor) -> Tensor:
    """1 where a pixel's 3x3 surroundings are not flat, else 0; `[B, 1, H, W]`."""
    high = functional.max_pool2d(images, 3, 1, 1)
    low = -functional.max_pool2d(-images, 3, 1, 1)
    return ((high - low).amax(1, keepdim=True) > 0.15).float()


def vae_loss(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Edge-weighted L1 and squared error, and a little KL."""
    with torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(images).latent_dist
        decoded = vae.decode(posterior.sample()).sample
    error = decoded.float() - images
    weight = 1 + EDGE * _edges(images)
    kl = posterior.kl().float().mean() / posterior.mean[0].numel()
    loss: Tensor = (weight * (error.abs() + error.square())).mean() + KL * kl
    return loss


def train_vae(
    vae: AutoencoderKL, pictures: Picture, plan: Plan, work: Path, report: Report
) -> None:
    """Train in place, resuming from `work`; sets the factors that make latents about unit."""
    vae.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(vae.parameters(), plan.vae_rate, weight_decay=1e-4)
    averaged: dict[str, Tensor] = {}
    path = work / "vae.safetensors"
    first = checkpoint.load(path, vae, optimiser, averaged)
    for step in range(first, plan.vae_steps):
        torch.manual_seed(plan.seed + step)
        for group in optimiser.param_groups:
            group["lr"] = plan.vae_rate * rate(step, plan.vae_steps, 40)
        rng = np.random.default_rng([plan.seed, 1, step])
        rows = rng.integers(0, len(pictures), plan.vae_batch)
        loss = vae_loss(vae, to_images(pictures[rows]))
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        checkpoint.average(averaged, vae, min(0.99, (1 + step) / (10 + step)))
        report("vae", step + 1, plan.vae_steps, loss.item())
        if (step + 1) % plan.save_every == 0 or step + 1 == plan.vae_steps:
            checkpoint.save(path, step + 1, vae, optimiser, averaged)
    vae.load_state_dict(averaged)
    vae.to(memory_format=torch.contiguous_format).eval().requires_grad_(False)


def _batches(pictures: Picture, size: int = 128) -> Iterable[Tensor]:
    return (to_images(pictures[k : k + size]) for k in range(0, len(pictures), size))


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: Picture) -> Tensor:
    """Posterior means `[N, 16, 8, 8]`, not yet scaled."""
    return torch.cat([vae.encode(images).latent_dist.mode() for images in _batches(pictures)])


def set_factors(vae: AutoencoderKL, latents: Tensor) -> None:
    """Choose shift and scaling so that `(latent - shift) * scaling` has mean 0 and deviation 1."""
    vae.register_to_config(
        shift_factor=round(float(latents.mean()), 4),
        scaling_factor=round(1 / float(latents.std()), 4),
    )
