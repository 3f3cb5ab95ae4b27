"""Training of the tiny preference model: which of two pictures fits a caption better?

PickScore's loss (arXiv 2305.01569): the softmax over a pair's scores, for one caption, against
the one that is preferred. Beside it CLIP's contrastive loss, without which the words stay mute.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPModel, CLIPTokenizer

from guardcore_plugins.tiny_world import checkpoint
from guardcore_plugins.tiny_world.model import token_ids
from guardcore_plugins.tiny_world.plan import Cosine, Report
from guardcore_plugins.tiny_world.preference_data import Comparison, as_images, compare, varied
from guardcore_plugins.tiny_world.preference_model import ClipWidths, embed
from guardcore_plugins.tiny_world.scenes import PREFIXES
from guardcore_plugins.tiny_world.tokens import MAX_LENGTH
from guardcore_plugins.tiny_world.vae_training import rate

LARGEST_SCALE = 4.6052  # ln 100, CLIP's bound on logit_scale


@dataclass(frozen=True)
class PreferencePlan:
    """The sizes of a training run; the batch is in comparisons, of three pictures each."""

    seed: int = 0
    cosine: Cosine = field(default_factory=lambda: Cosine(3500, 1.5e-3, 200))
    batch: int = 32
    weight_decay: float = 0.05
    decay: float = 0.998
    save_every: int = 250
    widths: ClipWidths = field(default_factory=ClipWidths)


SMOKE = PreferencePlan(
    cosine=Cosine(3, 1e-3, 1), batch=4, save_every=2, widths=ClipWidths(32, 1, 32, 1, 16)
)


def content(caption: str) -> str:
    """The caption without its prefix: what two captions have in common that mean the same."""
    prefix = max((p for p in PREFIXES if caption.startswith(p)), key=len)
    return caption.removeprefix(prefix)


def preference_loss(scores: Tensor) -> Tensor:
    """Mean of -log softmax for scores ``[B, 2]`` of (preferred, other)."""
    first = torch.zeros(len(scores), dtype=torch.long)
    return functional.cross_entropy(scores, first)


def contrastive_loss(scores: Tensor, captions: list[str]) -> Tensor:
    """CLIP's symmetric loss for scores ``[C, C]`` of captions (rows) and their own images.

    Images of another caption that means the same are no negatives, and left out.
    """
    meaning = [content(caption) for caption in captions]
    same = torch.tensor([[a == b for b in meaning] for a in meaning])
    same.fill_diagonal_(False)
    scores = scores.masked_fill(same, float("-inf"))
    own = torch.arange(len(scores))
    return (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)) / 2


def batch_loss(
    model: CLIPModel, tokenizer: CLIPTokenizer, batch: list[Comparison], generator: torch.Generator
) -> Tensor:
    """Right against wrong both ways, right against spoilt, and the contrastive loss."""
    size = len(batch)
    pictures = [b.right for b in batch] + [b.wrong for b in batch] + [b.spoilt for b in batch]
    captions = [b.caption for b in batch] + [b.mistaken for b in batch]
    images = varied(as_images(pictures), generator)
    seen, said = embed(model, images, token_ids(tokenizer, captions, MAX_LENGTH))
    scores = model.logit_scale.exp() * said @ seen.T  # [2 B captions, 3 B images]
    own = torch.arange(2 * size)
    others = own.roll(size)  # of a caption: the image of its partner
    pairs = torch.stack([scores[own, own], scores[own, others]], 1)
    clean = torch.arange(size)
    spoilt = torch.stack([scores[clean, clean], scores[clean, clean + 2 * size]], 1)
    contrast = contrastive_loss(scores[:, : 2 * size], captions)
    return preference_loss(pairs) + preference_loss(spoilt) + 0.5 * contrast


def train_preference(
    model: CLIPModel,
    tokenizer: CLIPTokenizer,
    plan: PreferencePlan,
    work: Path,
    report: Report,
    export: Callable[[dict[str, Tensor]], None],
) -> None:
    """Train in place, resuming from ``work``; ``export`` gets the averaged weights at the end."""
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=plan.weight_decay, fused=True)
    averaged: dict[str, Tensor] = {}
    path = work / "preference.safetensors"
    steps = plan.cosine.steps
    for step in range(checkpoint.load(path, model, optimiser, averaged), steps):
        rng = np.random.default_rng([plan.seed, 3, step])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        for group in optimiser.param_groups:
            group["lr"] = plan.cosine.peak * rate(step, steps, plan.cosine.warmup)
        batch = [compare(rng, "train") for _ in range(plan.batch)]
        loss = batch_loss(model, tokenizer, batch, generator)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=LARGEST_SCALE)
        checkpoint.average(averaged, model, min(plan.decay, (1 + step) / (10 + step)))
        done = step + 1
        report("preference", done, steps, loss.item())
        if done % plan.save_every == 0 or done == steps:
            checkpoint.save(path, done, model, optimiser, averaged)
    export(averaged)
