"""Train the tiny base models: `python -m guardcore_plugins.tiny_world.train --out DIR`.

Draws a corpus, trains the autoencoder, encodes the corpus, then trains text encoders and
transformer on the latents: of `DIR/sd3`, then of `DIR/flux`. Everything derives from one seed;
killed, it goes on from the last checkpoint in `--work`. An hour for each on two cores.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from guardcore_plugins.tiny_world.data import Corpus, make_corpus
from guardcore_plugins.tiny_world.flow_training import (
    Captioner,
    Distillation,
    flow_loss,
    train_flow,
)
from guardcore_plugins.tiny_world.flux_model import TinyFlux
from guardcore_plugins.tiny_world.model import build_vae, save_pipeline
from guardcore_plugins.tiny_world.plan import SMOKE, Lessons, Plan
from guardcore_plugins.tiny_world.sd3_model import TinySD3
from guardcore_plugins.tiny_world.vae_training import encode, set_factors, train_vae

MODELS = ("sd3", "flux")


class ProgressReport:
    """A rich bar per phase, and a plain line every so many steps for logs."""

    def __init__(self, progress: Progress, every: int) -> None:
        self.progress = progress
        self.every = every
        self.tasks: dict[str, tuple[int, float]] = {}
        self.loss: dict[str, float] = {}

    def __call__(self, phase: str, done: int, total: int, loss: float) -> None:
        """Advance a phase; the loss shown is a running mean."""
        if phase not in self.tasks:
            task = self.progress.add_task(phase, total=total, loss="")
            self.tasks[phase] = (int(task), time.monotonic())
        mean = self.loss[phase] = 0.98 * self.loss.get(phase, loss) + 0.02 * loss
        task_id, start = self.tasks[phase]
        self.progress.update(self.progress.task_ids[task_id], completed=done, loss=f"{mean:.4f}")
        if done % self.every == 0 or done == total:
            seconds = time.monotonic() - start
            self.progress.console.print(f"{phase} {done}/{total} loss {mean:.4f} {seconds:.0f} s")


def export(model: Any, averaged: dict[str, Tensor], vae: AutoencoderKL, out: Path) -> None:
    """Save the pipeline with averaged weights; the model in training stays as it is."""
    twin = copy.deepcopy(model)
    twin.load_state_dict(averaged)
    save_pipeline(twin.pipeline(copy.deepcopy(vae)), out)


@dataclass(frozen=True)
class Trainer:
    """What the training of every architecture needs."""

    plan: Plan
    corpus: Corpus
    vae: AutoencoderKL
    latents: Tensor
    out: Path
    work: Path
    report: ProgressReport

    def sd3(self) -> None:
        """Teach a tiny SD3."""
        torch.manual_seed(self.plan.seed + 1)
        model = TinySD3(self.plan.widths, self.corpus.captions)
        captioner = Captioner(model, self.corpus, self.plan.dropout)
        self._teach("sd3", model, captioner, flow_loss, self.plan.sd3)

    def flux(self) -> None:
        """Teach a tiny FLUX, then make guidance its input."""
        torch.manual_seed(self.plan.seed + 2)
        model = TinyFlux(self.plan.widths, self.corpus.captions)
        captioner = Captioner(model, self.corpus, self.plan.dropout)
        self._teach("flux", model, captioner, flow_loss, self.plan.flux)
        loss = Distillation(copy.deepcopy(model).requires_grad_(False))
        self._teach("flux-guidance", model, captioner, loss, self.plan.flux_guidance)

    def _teach(
        self, name: str, model: Any, captioner: Captioner, loss: Any, lessons: Lessons
    ) -> None:
        def write(averaged: dict[str, Tensor]) -> None:
            export(model, averaged, self.vae, self.out / name.partition("-")[0])

        path = self.work / f"{name}.safetensors"
        train_flow(
            model, loss, self.latents, captioner, lessons, self.plan, path, self.report, write
        )


def train(
    plan: Plan, out: Path, work: Path, progress: Progress, models: Sequence[str] = MODELS
) -> None:
    """The whole training, from nothing to a pipeline directory for each of `models`."""
    work.mkdir(parents=True, exist_ok=True)
    report = ProgressReport(progress, plan.save_every)
    corpus = make_corpus(plan.seed, plan.corpus)
    progress.console.print(f"drew {plan.corpus} scenes")
    torch.manual_seed(plan.seed)
    vae = build_vae(plan.widths)
    train_vae(vae, corpus.pictures, plan, work, report)
    latents = encode(vae, corpus.pictures)
    set_factors(vae, latents)
    latents = (latents - vae.config.shift_factor) * vae.config.scaling_factor
    progress.console.print("encoded the corpus")
    trainer = Trainer(plan, corpus, vae, latents, out, work, report)
    for name in models:
        getattr(trainer, name)()


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="gets a pipeline directory a model")
    parser.add_argument("--work", type=Path, help="checkpoints; OUT/work by default")
    parser.add_argument("--model", choices=MODELS, action="append", help="default: all")
    parser.add_argument("--smoke", action="store_true", help="a few steps of a toy size")
    parser.add_argument("--threads", type=int, default=2, help="torch's CPU threads")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    work = options.work or options.out / "work"
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns, TimeRemainingColumn()) as progress:
        plan = SMOKE if options.smoke else Plan()
        train(plan, options.out, work, progress, options.model or MODELS)


if __name__ == "__main__":
    main()
