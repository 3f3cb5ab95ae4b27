"""Train the tiny preference model: `python -m guardcore_plugins.tiny_world.preference --out DIR`.

It learns from drawn scenes which of two pictures fits a caption better: the right one or that of a
mistake, the clean one or a spoilt one. Everything derives from one seed; killed, it goes on from
the last checkpoint in `--work`. The full size takes a quarter of an hour on one core.
`--evaluate DIR` measures a model on captions that training never sees.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from guardcore_plugins.tiny_world.preference_model import build_clip, save_clip
from guardcore_plugins.tiny_world.preference_training import (
    SMOKE,
    PreferencePlan,
    train_preference,
)
from guardcore_plugins.tiny_world.scenes import TAGS, captions
from guardcore_plugins.tiny_world.tokens import train_tokenizer
from guardcore_plugins.tiny_world.train import ProgressReport


def train(plan: PreferencePlan, out: Path, work: Path, progress: Progress) -> None:
    """The whole training, from nothing to a model directory."""
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(text for tag in TAGS for text in sorted(captions(tag, "train")))
    torch.manual_seed(plan.seed)
    model = build_clip(plan.widths, tokenizer)
    report = ProgressReport(progress, plan.save_every)
    train_preference(
        model, tokenizer, plan, work, report, lambda w: save_clip(model, w, tokenizer, out)
    )


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, then train or evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, help="model directory to write")
    what.add_argument("--evaluate", type=Path, help="model directory to measure", metavar="DIR")
    parser.add_argument("--work", type=Path, help="checkpoints; beside --out by default")
    parser.add_argument("--smoke", action="store_true", help="a few steps of a toy size")
    parser.add_argument("--size", type=int, default=2000, help="comparisons to evaluate")
    parser.add_argument("--threads", type=int, default=1, help="torch's CPU threads")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.evaluate:
        from guardcore_plugins.tiny_world.preference_accuracy import measure, table

        Console().print(table(measure(options.evaluate, options.size)))
        return
    work = options.work or options.out.with_name(options.out.name + "-work")
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns, TimeRemainingColumn()) as progress:
        train(SMOKE if options.smoke else PreferencePlan(), options.out, work, progress)


if __name__ == "__main__":
    main()
