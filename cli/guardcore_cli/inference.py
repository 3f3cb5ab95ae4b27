"""``guardcore sample`` and ``guardcore eval``: look at a model, before or after training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guardcore_cli import parameters

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor

    from guardcore.layers import Overrides


def sample(
    source: parameters.Source = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="Repeat for several; default: held-out ones.")
    ] = None,
    number: Annotated[int, typer.Option(min=1, help="Images a prompt.")] = 1,
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("samples.png"),
    checkpoint: parameters.Checkpoint = None,
    assignments: parameters.Set = None,
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
    checkpoint: parameters.Checkpoint = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    assignments: parameters.Set = None,
    debug: parameters.Debug = False,
) -> None:
    """Score the held-out prompts, each task by itself: the config's evaluation, on its noise."""
    from rich.console import Console

    from guardcore.evaluation import evaluate as run_evaluation
    from guardcore.inference import trained
    from guardcore_cli.loading import load_config

    config = load_config([source] if source else (), _overrides(assignments))
    with trained(config, _run_directory(source), checkpoint) as run:
        evaluation = run_evaluation(run)
    rows = {
        name: _summary(values)
        | {"by_tag": {tag: _summary(s[name]) for tag, s in evaluation.by_tag().items()}}
        for name, values in evaluation.scores.items()
    }
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        Console().print(_table(rows))


def _summary(values: Tensor) -> dict[str, Any]:
    from guardcore.inference import standard_error

    error = standard_error(values)
    return {"mean": float(values.mean()), "standard_error": error, "images": len(values)}


def _table(rows: Mapping[str, Mapping[str, Any]]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table("reward", "task", "mean ± s.e.", "images", box=None, pad_edge=False)
    for name, row in rows.items():
        parts = row["by_tag"] if len(row["by_tag"]) > 1 else {}
        for task, part in {**parts, "all" if parts else "": row}.items():
            cell = f"{part['mean']:.3f} ± {part['standard_error']:.3f}"
            table.add_row(escape(name), escape(task), cell, str(part["images"]))
    return table


def _overrides(assignments: list[str] | None) -> Overrides:
    from guardcore.layers import Overrides

    return Overrides(assignments=assignments or ())


def _run_directory(source: Path | None) -> Path | None:
    return source if source is not None and source.is_dir() else None
