"""``guardcore sample`` and ``guardcore eval``: look at a model, before or after training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guardcore_cli import parameters

if TYPE_CHECKING:
    from rich.table import Table

    from guardcore.config import RunConfig
    from guardcore.layers import Overrides
    from guardcore.run import Run

BENCHMARK_IMAGES = 4
"""Images a prompt in the published GenEval."""


def sample(
    source: parameters.Source = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="Repeat for several; default: held-out ones.")
    ] = None,
    number: Annotated[int, typer.Option(min=1, help="Images a prompt.")] = 1,
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("samples.png"),
    checkpoint: parameters.Checkpoint = None,
    assignments: parameters.Set = None,
    without: parameters.Without = None,
    debug: parameters.Debug = False,
) -> None:
    """Sample images and write them as one grid with their captions."""
    from guardcore.errors import GuardcoreError
    from guardcore.evaluation import held_out
    from guardcore.grid import save_grid
    from guardcore.inference import sample_prompts, trained
    from guardcore.prompt import Prompt
    from guardcore_cli.loading import load_config

    config = load_config([source] if source else (), _overrides(assignments))
    with trained(config, _run_directory(source), checkpoint) as run:
        prompts = [Prompt(text) for text in prompt or []]
        if not prompts and run.eval_prompts is not None:
            prompts = held_out(run.eval_prompts, 24)
        if not prompts:
            raise GuardcoreError("the config has no held-out prompts; give --prompt")
        repeated = [p for p in prompts for _ in range(number)]
        images = sample_prompts(run, repeated)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_grid(out, images, [p.text for p in repeated])
    typer.echo(f"{len(images)} images in {out}")


def evaluate(
    source: parameters.Source = None,
    metadata: Annotated[
        Path | None,
        typer.Option(
            help="JSONL of prompts in place of the held-out ones, e.g. GenEval's "
            "evaluation_metadata.jsonl; all of them, 4 images each."
        ),
    ] = None,
    number: Annotated[
        int | None, typer.Option(min=1, help="Images a prompt, of all held-out prompts.")
    ] = None,
    reward: parameters.Reward = None,
    checkpoint: parameters.Checkpoint = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    assignments: parameters.Set = None,
    without: parameters.Without = None,
    debug: parameters.Debug = False,
) -> None:
    """Score the held-out prompts, each task by itself: the config's evaluation, on its noise."""
    from rich.console import Console

    from guardcore.errors import GuardcoreError
    from guardcore.evaluation import evaluate as run_evaluation
    from guardcore.inference import trained
    from guardcore.summary import summarize
    from guardcore_cli.loading import load_config

    config = load_config([source] if source else (), _overrides(assignments, reward))
    if metadata is not None:
        config, number = _on_prompts(config, metadata), number or BENCHMARK_IMAGES
    with trained(config, _run_directory(source), checkpoint) as run:
        if run.eval_prompts is None:
            raise GuardcoreError("prompts.eval: not given; give --metadata FILE")
        prompts = len(run.eval_prompts)
        evaluation = run_evaluation(run if number is None else _sized(run, number * prompts))
    rows = summarize(evaluation, prompts)
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        Console().print(_table(rows))


def _on_prompts(config: RunConfig, path: Path) -> RunConfig:
    """Return the config with a JSONL file's prompts in place of the held-out ones."""
    from guardcore.spec import Spec

    held_out = Spec.model_validate({"use": "jsonl", "path": str(path)})
    prompts = config.prompts.model_copy(update={"eval": held_out})
    return config.model_copy(update={"prompts": prompts})


def _sized(run: Run, images: int) -> Run:
    """Return the run with another number of images in its evaluation."""
    evaluation = run.config.evaluate.model_copy(update={"num_images": images})
    return replace(run, config=run.config.model_copy(update={"evaluate": evaluation}))


def _table(rows: Mapping[str, Mapping[str, Any]]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table("reward", "task", "mean ± s.e.", "of", box=None, pad_edge=False)
    for name, row in rows.items():
        for task, part, of in _lines(row):
            cell = f"{part['mean']:.3f} ± {part['standard_error']:.3f}"
            table.add_row(escape(name), escape(task), cell, of)
    return table


def _lines(row: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Yield the lines of one reward: its tasks, their mean, all images, the best of each prompt."""
    tasks = row["by_tag"] if "over_tasks" in row else {}
    for task, part in tasks.items():
        yield task, part, f"{part['images']} images"
    if tasks:
        yield "mean of the tasks", row["over_tasks"], f"{row['over_tasks']['tasks']} tasks"
    yield "all" if tasks or "best_of" in row else "", row, f"{row['images']} images"
    if best := row.get("best_of"):
        yield f"best of {best['images_a_prompt']} images", best, f"{best['prompts']} prompts"


def _overrides(assignments: list[str] | None, reward: list[str] | None = None) -> Overrides:
    from guardcore.layers import Overrides

    return Overrides(assignments=assignments or (), reward=reward or ())


def _run_directory(source: Path | None) -> Path | None:
    return source if source is not None and source.is_dir() else None
