"""Joint training of the text encoders and the transformer by flow matching."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from guardcore_plugins.tiny_world import checkpoint
from guardcore_plugins.tiny_world.data import ALTERNATIVES, Corpus
from guardcore_plugins.tiny_world.model import (
    build_text_encoder,
    build_transformer,
    condition,
    token_ids,
)
from guardcore_plugins.tiny_world.plan import Plan, Report
from guardcore_plugins.tiny_world.tokens import train_tokenizer
from guardcore_plugins.tiny_world.vae_training import rate

# Zero tokens in T5's place, and how often: their number changes the attention's softmax, so the
# model is trained to ignore anything from one (fast) to diffusers' default of 256.
PADDING = {1: 0.90, 4: 0.04, 16: 0.03, 64: 0.02, 256: 0.01}
UNIFORM = 0.25  # share of uniform sigmas; the rest are logit-normal, shifted
NOISIER = 2.5  # that shift: words matter at high noise, below it the picture shows all


class TextToLatent(nn.Module):
    """Both text encoders and the transformer, as one thing to train, average and save."""

    def __init__(self, plan: Plan, corpus: Corpus) -> None:
        super().__init__()
        self.tokenizer = train_tokenizer(corpus.captions)
        self.text_encoder = build_text_encoder(plan.widths, self.tokenizer, "quick_gelu")
        self.text_encoder_2 = build_text_encoder(plan.widths, self.tokenizer, "gelu")
        self.transformer = build_transformer(plan.widths)

    def forward(self, x: Tensor, sigma: Tensor, ids: Tensor, padding: int) -> Tensor:
        """Velocity `[B, 16, 8, 8]` at noise level sigma `[B]` for token ids `[B, L]`."""
        embeddings, pooled = condition((self.text_encoder, self.text_encoder_2), ids, padding)
        velocity: Tensor = self.transformer(
            x, embeddings, pooled, timestep=1000 * sigma, return_dict=False
        )[0]
        return velocity


class Captioner:
    """Token ids for rows of a corpus: mostly right, partly wrong, sometimes empty."""

    def __init__(self, model: TextToLatent, corpus: Corpus, plan: Plan) -> None:
        choices = [
            [right, *wrong] for right, wrong in zip(corpus.captions, corpus.wrong, strict=True)
        ]
        flat = token_ids(model.tokenizer, [text for row in choices for text in row])
        self.ids = flat.view(len(choices), 1 + ALTERNATIVES, -1)
        self.empty = token_ids(model.tokenizer, [""])[0]
        self.digits = corpus.digits
        self.plan = plan

    def __call__(self, rng: np.random.Generator, rows: np.ndarray, step: int) -> Tensor:
        """Ids `[B, L]`."""
        phases = [shares for first, shares in sorted(self.plan.mistakes.items()) if first <= step]
        scenes, digits = phases[-1] if phases else (0.0, 0.0)
        wrong = rng.random(len(rows)) < np.where(self.digits[rows], digits, scenes)
        choice = np.where(wrong, rng.integers(1, 1 + ALTERNATIVES, len(rows)), 0)
        ids = self.ids[torch.from_numpy(rows), torch.from_numpy(choice)]
        dropped = torch.from_numpy(rng.random(len(rows)) < self.plan.dropout)
        return torch.where(dropped[:, None], self.empty, ids)


def learning_rate(plan: Plan, step: int) -> float:
    """The rate at a step: one cosine after the other."""
    for cosine in plan.flow_cosines:
        if step < cosine.steps:
            return cosine.peak * rate(step, cosine.steps, cosine.warmup)
        step -= cosine.steps
    raise ValueError("the plan has fewer steps")


def draw_sigma(generator: torch.Generator, size: int) -> Tensor:
    """Noise levels `[size]` in (0, 1): logit-normal towards 1, some uniform."""
    normal = torch.sigmoid(torch.randn(size, generator=generator) + math.log(NOISIER))
    uniform = torch.rand(size, generator=generator)
    return torch.where(torch.rand(size, generator=generator) < UNIFORM, uniform, normal)


def flow_loss(
    model: TextToLatent, x0: Tensor, ids: Tensor, padding: int, generator: torch.Generator
) -> Tensor:
    """Mean squared error of the velocity against `noise - x0`."""
    sigma = draw_sigma(generator, len(x0))
    noise = torch.randn(x0.shape, generator=generator)
    level = sigma.view(-1, 1, 1, 1)
    velocity: Tensor = model((1 - level) * x0 + level * noise, sigma, ids, padding)
    return (velocity - (noise - x0)).square().mean()


def train_flow(
    model: TextToLatent,
    latents: Tensor,
    corpus: Corpus,
    plan: Plan,
    work: Path,
    report: Report,
    export: Callable[[dict[str, Tensor]], None],
) -> None:
    """Train in place, resuming from `work`; `export` gets the averaged weights now and then."""
    captioner = Captioner(model, corpus, plan)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.01, fused=True)
    averaged: dict[str, Tensor] = {}
    path = work / "flow.safetensors"
    steps = sum(cosine.steps for cosine in plan.flow_cosines)
    for step in range(checkpoint.load(path, model, optimiser, averaged), steps):
        rng = np.random.default_rng([plan.seed, 2, step])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        rows = rng.integers(0, len(latents), plan.flow_batch)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(plan, step)
        padding = int(rng.choice(list(PADDING), p=list(PADDING.values())))
        x0 = latents[torch.from_numpy(rows)]
        ids = captioner(rng, rows, step)
        loss = flow_loss(model, x0, ids, padding, generator)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        checkpoint.average(averaged, model, min(plan.decay, (1 + step) / (10 + step)))
        done = step + 1
        report("flow", done, steps, loss.item())
        if done % plan.save_every == 0 or done == steps:
            checkpoint.save(path, done, model, optimiser, averaged)
        if done % plan.export_every == 0 or done == steps:
            export(averaged)
