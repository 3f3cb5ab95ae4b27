"""Joint training of text encoders and transformer by flow matching, and guidance distillation."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from guardcore_plugins.tiny_world import checkpoint
from guardcore_plugins.tiny_world.data import ALTERNATIVES, Corpus
from guardcore_plugins.tiny_world.flux_model import TinyFlux
from guardcore_plugins.tiny_world.model import TextToLatent
from guardcore_plugins.tiny_world.plan import Lessons, Plan, Report
from guardcore_plugins.tiny_world.vae_training import rate

UNIFORM = 0.25  # share of uniform sigmas; the rest are logit-normal, shifted
NOISIER = 2.5  # that shift: words matter at high noise, below it the picture shows all
STRONGEST = 5.0  # guidance scale that distillation goes up to, from 1


class Captioner:
    """Token ids for rows of a corpus: mostly right, partly wrong, sometimes empty."""

    def __init__(self, model: TextToLatent, corpus: Corpus, dropout: float) -> None:
        choices = [
            [right, *wrong] for right, wrong in zip(corpus.captions, corpus.wrong, strict=True)
        ]
        flat = model.token_ids([text for row in choices for text in row])
        self.ids = flat.view(len(choices), 1 + ALTERNATIVES, -1)
        self.empty = model.token_ids([""])[0]
        self.digits = corpus.digits
        self.dropout = dropout

    def __call__(
        self, rng: np.random.Generator, rows: np.ndarray, lessons: Lessons, step: int
    ) -> Tensor:
        """Ids `[B, L]`."""
        phases = [shares for first, shares in sorted(lessons.mistakes.items()) if first <= step]
        scenes, digits = phases[-1] if phases else (0.0, 0.0)
        wrong = rng.random(len(rows)) < np.where(self.digits[rows], digits, scenes)
        choice = np.where(wrong, rng.integers(1, 1 + ALTERNATIVES, len(rows)), 0)
        ids = self.ids[torch.from_numpy(rows), torch.from_numpy(choice)]
        dropped = torch.from_numpy(rng.random(len(rows)) < self.dropout)
        return torch.where(dropped[:, None], self.empty, ids)


def learning_rate(lessons: Lessons, step: int) -> float:
    """The rate at a step: one cosine after the other."""
    for cosine in lessons.cosines:
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
    x, sigma, noise = _noised(x0, generator)
    return (model(x, sigma, ids, padding) - (noise - x0)).square().mean()


class Distillation:
    """The loss that makes guidance an input: the teacher's guided velocity, from one forward.

    The teacher is a frozen copy of the model; its input says guidance 1.
    """

    def __init__(self, teacher: TinyFlux) -> None:
        self.teacher = teacher
        self.empty = teacher.token_ids([""])

    def __call__(
        self, model: TinyFlux, x0: Tensor, ids: Tensor, padding: int, generator: torch.Generator
    ) -> Tensor:
        """Mean squared error against `v_empty + scale * (v - v_empty)`, the scale from 1 to 5."""
        x, sigma, _ = _noised(x0, generator)
        scale = 1 + (STRONGEST - 1) * torch.rand(len(x0), generator=generator)
        with torch.no_grad():
            right = self.teacher(x, sigma, ids, padding)
            empty = self.teacher(x, sigma, self.empty.expand_as(ids), padding)
        target = empty + scale.view(-1, 1, 1, 1) * (right - empty)
        loss: Tensor = (model(x, sigma, ids, padding, scale) - target).square().mean()
        return loss


def _noised(x0: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return noised latents, their noise levels `[B]` and the noise."""
    sigma = draw_sigma(generator, len(x0))
    noise = torch.randn(x0.shape, generator=generator)
    level = sigma.view(-1, 1, 1, 1)
    return (1 - level) * x0 + level * noise, sigma, noise


def train_flow(
    model: Any,
    loss_of: Callable[[Any, Tensor, Tensor, int, torch.Generator], Tensor],
    latents: Tensor,
    captioner: Captioner,
    lessons: Lessons,
    plan: Plan,
    path: Path,
    report: Report,
    export: Callable[[dict[str, Tensor]], None],
) -> None:
    """Train in place, resuming from `path`; `export` gets the averaged weights now and then."""
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.01, fused=True)
    averaged: dict[str, Tensor] = {}
    for step in range(checkpoint.load(path, model, optimiser, averaged), lessons.steps):
        rng = np.random.default_rng([plan.seed, 2, step])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        rows = rng.integers(0, len(latents), plan.flow_batch)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(lessons, step)
        padding = int(rng.choice(list(model.paddings), p=list(model.paddings.values())))
        x0 = latents[torch.from_numpy(rows)]
        ids = captioner(rng, rows, lessons, step)
        loss = loss_of(model, x0, ids, padding, generator)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        checkpoint.average(averaged, model, min(plan.decay, (1 + step) / (10 + step)))
        done = step + 1
        report(path.stem, done, lessons.steps, loss.item())
        if done % plan.save_every == 0 or done == lessons.steps:
            checkpoint.save(path, done, model, optimiser, averaged)
        if done % plan.export_every == 0 or done == lessons.steps:
            export(averaged)
    model.load_state_dict(averaged or checkpoint.averaged(path))
