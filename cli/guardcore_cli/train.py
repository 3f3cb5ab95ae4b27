"""``guardcore train``."""

from __future__ import annotations

import shlex
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guardcore_cli import parameters
from guardcore_cli.leaving import preemptible

if TYPE_CHECKING:
    from guardcore.loop import Outcome

_RUNS = Path("runs")
RECORDED = 3
"""Iterations that ``--record`` keeps, where the config doesn't say."""


def train(
    config: parameters.Config = None,
    strategy: parameters.Strategy = None,
    backbone: parameters.Backbone = None,
    sampler: parameters.Sampler = None,
    ratio: parameters.Ratio = None,
    gradient_weight: parameters.GradientWeight = None,
    reward: parameters.Reward = None,
    assignments: parameters.Set = None,
    out: Annotated[Path | None, typer.Option(help="Run directory. Default: runs/DATE.")] = None,
    record: Annotated[
        bool,
        typer.Option(
            "--record", help="Keep 3 iterations whole for `replay`, or as many as the config says."
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint of --out.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything; say what would run, as `plan` does."),
    ] = False,
    without: parameters.Without = None,
    debug: parameters.Debug = False,
) -> None:
    """Fine-tune a model. With nothing else: the embedded tiny model, on a CPU, in minutes.

    Exit codes: 0 finished, or stopped by the watch; 2 something to mend;
    75 stopped by SIGTERM or SIGUSR1, saved, to go on with --resume;
    130 stopped by Ctrl-C; 1 anything else.
    """
    from guardcore.binding import bind
    from guardcore.layers import Overrides
    from guardcore.plugins import PluginHost
    from guardcore_cli.loading import load_config

    overrides = Overrides(
        strategy=strategy,
        backbone=backbone,
        sampler=sampler,
        ratio=ratio or (),
        gradient_weight=gradient_weight or (),
        reward=reward or (),
        assignments=assignments or (),
    )
    directory = out or (_newest_run() if resume else _new_run())
    if resume and config is None and (directory / "config.yaml").is_file():
        config = [directory]
    settings = load_config(config or (), overrides)
    if record:
        settings = settings.recorded(RECORDED)
    if dry_run:
        from guardcore_cli.outlook import describe

        describe(settings)
        return
    bind(settings, PluginHost.on_demand().registry)  # mistakes show before torch is imported
    try:
        with preemptible(lambda: _resume_command(directory)):
            from guardcore import train as run_training
            from guardcore.joining import leave

            outcome = run_training(settings, directory, resume=resume)
    except KeyboardInterrupt:
        typer.echo(f"stopped at once; go on with: {_resume_command(directory)}", err=True)
        raise typer.Exit(130) from None
    leave()
    _conclude(outcome)


def _conclude(outcome: Outcome) -> None:
    from guardcore.signals import exit_code
    from guardcore_cli.outlook import print_result

    if not outcome.main:
        raise typer.Exit(exit_code(outcome.signal) if outcome.signal else 0)
    if outcome.signal is not None:
        typer.echo(
            f"stopped by {outcome.signal.name} after iteration {outcome.iteration}; "
            f"go on with: {_resume_command(outcome.directory)}",
            err=True,
        )
        raise typer.Exit(exit_code(outcome.signal))
    if outcome.alarm is not None:
        typer.echo(
            f"stopped by the watch after iteration {outcome.iteration}; "
            f"gold was best after iteration {outcome.alarm.best}",
            err=True,
        )
    print_result(outcome)


def _resume_command(directory: Path) -> str:
    return f"guardcore train --resume --out {shlex.quote(str(directory))}"


def _new_run() -> Path:
    return _RUNS / datetime.now().astimezone().strftime("%Y-%m-%d-%H%M%S")


def _newest_run() -> Path:
    runs = sorted(path.parent for path in _RUNS.glob("*/config.yaml"))
    return runs[-1] if runs else _new_run()
