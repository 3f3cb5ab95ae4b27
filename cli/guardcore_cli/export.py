"""``guardcore export``: take a run's weights to where they are used."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from guardcore_cli import parameters


class Weights(StrEnum):
    """Which of a checkpoint's weights."""

    EMA = "ema"
    RAW = "raw"


def export(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    to: Annotated[
        str,
        typer.Option(
            help="diffusers: a LoRA for load_lora_weights, or the whole transformer; comfyui: a "
            "LoRA with ComfyUI's names; merged: a whole pipeline directory."
        ),
    ],
    out: Annotated[Path, typer.Option(help="A new or empty directory.")],
    weights: Annotated[
        Weights, typer.Option(help="The moving averages, as evaluation uses them, or the last.")
    ] = Weights.EMA,
    checkpoint: Annotated[
        int | None, typer.Option(min=1, help="Iteration. Default: the newest.")
    ] = None,
    assignments: parameters.Set = None,
    without: parameters.Without = None,
    debug: parameters.Debug = False,
) -> None:
    """Write what a run has trained in the form that another tool loads."""
    from guardcore.errors import GuardcoreError
    from guardcore.export import export as write
    from guardcore.layers import Overrides
    from guardcore_cli.loading import load_config

    if not (run / "config.yaml").is_file():
        raise GuardcoreError(f"{run} is no run directory: it has no config.yaml")
    config = load_config([run], Overrides(assignments=assignments or ()))
    done = write(config, run, to, out, iteration=checkpoint, weights=weights.value)
    typer.echo(f"{done.directory}: iteration {done.iteration}, {done.weights} weights")
    for path in sorted(done.directory.rglob("*.safetensors")):
        size = path.stat().st_size / 1e6
        typer.echo(f"  {path.relative_to(done.directory)} ({size:.1f} MB)")
    typer.echo(f"load it with: {done.usage}")
