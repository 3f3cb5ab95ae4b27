"""``guardcore replay``: what other words would have done to a recorded update."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from guardcore_cli import parameters


def replay(
    run: Annotated[Path, typer.Argument(help="Run directory, trained with --record.")],
    iteration: Annotated[
        int | None, typer.Option(min=1, help="A recorded iteration. Default: the last.")
    ] = None,
    update: Annotated[
        int | None, typer.Option(min=1, help="One of its updates, from 1. Default: the last.")
    ] = None,
    strategy: Annotated[
        list[str] | None, typer.Option(help="Beside the run's own words; repeat for several.")
    ] = None,
    ratio: Annotated[
        list[str] | None,
        typer.Option(help="A ratio transform; repeat for a chain, which is one more candidate."),
    ] = None,
    gradient_weight: Annotated[
        list[str] | None, typer.Option(help="A gradient weight of that candidate; likewise.")
    ] = None,
    no_gradient: Annotated[
        bool, typer.Option("--no-gradient", help="Leave out the gradients' shares; quicker.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    assignments: parameters.Set = None,
    without: parameters.Without = None,
    debug: parameters.Debug = False,
) -> None:
    """Score a recorded update again under other words: what would they have clipped?

    Nothing is trained, no reward is built, and nothing in RUN changes.
    """
    from guardcore.errors import GuardcoreError
    from guardcore.layers import Overrides
    from guardcore_cli.loading import load_config

    if not (run / "config.yaml").is_file():
        raise GuardcoreError(f"{run} is no run directory: it has no config.yaml")
    config = load_config([run], Overrides(assignments=assignments or ()))
    from guardcore import replay as score
    from guardcore_cli.replayed import plain, print_replay

    done = score(
        run,
        iteration=iteration,
        update=update,
        strategies=strategy or (),
        ratio=ratio or (),
        gradient_weight=gradient_weight or (),
        gradient=not no_gradient,
        config=config,
    )
    if as_json:
        typer.echo(json.dumps(plain(done), allow_nan=False))
    else:
        print_replay(done)
