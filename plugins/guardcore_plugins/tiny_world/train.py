"""Train the tiny base model: `python -m guardcore_plugins.tiny_world.train --out DIR`.

Draws a corpus, trains the autoencoder, encodes the corpus, then trains text encoders and
transformer on the latents. Everything derives from one seed; killed, it goes on from the last
checkpoint in `--work`. The full size takes under an hour on two cores.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from guardcore_plugins.tiny_world.data import Corpus, make_corpus
from guardcore_plugins.tiny_world.flow_training import TextToLatent, train_flow
from guardcore_plugins.tiny_world.model import assemble, build_vae, save_pipeline
from guardcore_plugins.tiny_world.plan import SMOKE, Plan
from guardcore_plugins.tiny_world.vae_training import encode, set_factors, train_vae


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


def export(model: TextToLatent, averaged: dict[str, Tensor], vae: AutoencoderKL, out: Path) -> None:
    """Save the pipeline with averaged weights; the model in training stays as it is."""
    twin = copy.deepcopy(model)
    twin.load_state_dict(averaged)
    encoders = (twin.text_encoder, twin.text_encoder_2)
    pipeline = assemble(copy.deepcopy(vae), twin.tokenizer, encoders, twin.transformer)
    save_pipeline(pipeline, out)


def _trained_vae(corpus: Corpus, plan: Plan, work: Path, report: ProgressReport) -> AutoencoderKL:
    torch.manual_seed(plan.seed)
    vae = build_vae(plan.widths)
    train_vae(vae, corpus.pictures, plan, work, report)
    return vae


def train(plan: Plan, out: Path, work: Path, progress: Progress) -> None:
    """The whole training, from nothing to a pipeline directory."""
    work.mkdir(parents=True, exist_ok=True)
    report = ProgressReport(progress, plan.save_every)
    corpus = make_corpus(plan.seed, plan.corpus)
    progress.console.print(f"drew {plan.corpus} scenes")
    vae = _trained_vae(corpus, plan, work, report)
    latents = encode(vae, corpus.pictures)
    set_factors(vae, latents)
    latents = (latents - vae.config.shift_factor) * vae.config.scaling_factor
    progress.console.print("encoded the corpus")
    torch.manual_seed(plan.seed + 1)
    model = TextToLatent(plan, corpus)
    train_flow(
        model, latents, corpus, plan, work, report, lambda weights: export(model, weights, vae, out)
    )


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="pipeline directory to write")
    parser.add_argument("--work", type=Path, help="checkpoints; beside --out by default")
    parser.add_argument("--smoke", action="store_true", help="a few steps of a toy size")
    parser.add_argument("--threads", type=int, default=2, help="torch's CPU threads")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    work = options.work or options.out.with_name(options.out.name + "-work")
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns, TimeRemainingColumn()) as progress:
        train(SMOKE if options.smoke else Plan(), options.out, work, progress)


if __name__ == "__main__":
    main()
