"""``guardcore sample`` and ``guardcore eval``: look at a model, before or after training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guardcore_cli import parameters

if TYPE_CHECKING:
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

    config = load_config(source, _overrides(assignments))
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
    """Score the held-out prompts: the config's own evaluation, on its fixed noise."""
    from rich.console import Console
    from rich.table import Table

    from guardcore.evaluation import evaluate as run_evaluation
    from guardcore.inference import standard_error, trained
    from guardcore_cli.loading import load_config

    config = load_config(source, _overrides(assignments))
    with trained(config, _run_directory(source), checkpoint) as run:
        scores = run_evaluation(run).scores
    rows = {
        name: {"mean": float(v.mean()), "standard_error": standard_error(v), "images": len(v)}
        for name, v in scores.items()
    }
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table("reward", "mean ± s.e.", "images", box=None, pad_edge=False)
    for name, row in rows.items():
        cell = f"{row['mean']:.3f} ± {row['standard_error']:.3f}"
        table.add_row(name, cell, str(row["images"]))
    Console().print(table)


def _overrides(assignments: list[str] | None) -> Overrides:
    from guardcore.layers import Overrides

    return Overrides(assignments=assignments or ())


def _run_directory(source: Path | None) -> Path | None:
    return source if source is not None and source.is_dir() else None
