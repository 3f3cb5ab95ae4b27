"""The parameters that several commands share, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _leave_out(names: list[str] | None) -> None:
    if names:
        from guardcore.permission import leave_out

        leave_out(names)


Config = Annotated[
    list[Path] | None,
    typer.Argument(
        help="YAML files, run directories or profiles' names (flux1dev-ocr), each laid over the "
        "one before; without one, the embedded tiny model under 'guard'."
    ),
]
Source = Annotated[
    Path | None,
    typer.Argument(help="Run directory or YAML file; without one, the embedded tiny model."),
]
Strategy = Annotated[str | None, typer.Option(help="Named ratio transforms and weights.")]
Backbone = Annotated[str | None, typer.Option(help="The model, e.g. sd3:model=DIRECTORY.")]
Sampler = Annotated[str | None, typer.Option(help="E.g. cps:noise_level=0.8.")]
Ratio = Annotated[
    list[str] | None,
    typer.Option(help="A ratio transform; repeat for a chain. Replaces the strategy's."),
]
GradientWeight = Annotated[
    list[str] | None,
    typer.Option(help="A gradient weight; repeat for a product. Replaces the strategy's."),
]
Reward = Annotated[
    list[str] | None, typer.Option(help="A reward; repeat for several. Replaces the config's.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="PATH=VALUE for any config key, e.g. train.learning_rate=1e-4."),
]
Debug = Annotated[bool, typer.Option("--debug", help="Print the full traceback of an error.")]
Without = Annotated[
    list[str] | None,
    typer.Option(
        help="A distribution whose plugins are not to be imported; repeat for several.",
        metavar="DISTRIBUTION",
        callback=_leave_out,
        is_eager=True,
        expose_value=False,
    ),
]
Checkpoint = Annotated[
    int | None, typer.Option(min=0, help="Iteration; 0 is the base. Default: the newest.")
]
