"""The built-in trackers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from guardcore import Options, Registrar, Tracker, hookimpl


class JsonlOptions(Options):
    """Where the lines go."""

    path: Path | None = Field(
        None, description="a file to append to; null: standard output, for a log collector"
    )


class ConsoleOptions(Options):
    """What stands above the display."""

    title: str = Field(
        "",
        exclude=True,  # of this session, so no part of a run's config.yaml
        description="a line above the display of one run among several, which is gone when the run "
        "is over; empty: the last state stays",
    )


class TensorBoardOptions(Options):
    """Where the event files go."""

    directory: Path | None = Field(
        None, description="folder of the event files; null: `tensorboard` in the run directory"
    )


class WandbOptions(Options):
    """What the run is called at Weights & Biases, and whether it is sent there."""

    project: str = Field("guardcore", min_length=1, description="project that the run belongs to")
    name: str | None = Field(None, description="of the run; null: the run directory's name")
    group: str | None = Field(None, description="runs that belong together, like a study's")
    tags: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = Field(
        (), description="words to find the run by"
    )
    mode: Literal["online", "offline", "disabled"] | None = Field(
        None,
        description="online; offline: files only, which `wandb sync` uploads later; disabled: "
        "nothing; null: what the variable WANDB_MODE says, else online",
    )
    directory: Path | None = Field(
        None, description="folder in which `wandb/` keeps the run's files; null: the run directory"
    )


def console(options: ConsoleOptions) -> Tracker:
    """A live display on standard error: progress, rewards, ratio, clip fractions, time."""
    from guardcore_plugins.trackers.console import Console

    return Console(options.title)


def jsonl(options: JsonlOptions) -> Tracker:
    """One JSON object an iteration, to standard output or a file of your own."""
    from guardcore_plugins.trackers.jsonl import Jsonl

    return Jsonl(options.path)


def tensorboard(options: TensorBoardOptions) -> Tracker:
    """TensorBoard's event files: figures, and held-out images by prompt."""
    from guardcore_plugins.trackers.tensorboard import TensorBoard

    return TensorBoard(options.directory)


def wandb(options: WandbOptions) -> Tracker:
    """Weights & Biases: figures, held-out images with captions, the config; offline too."""
    from guardcore_plugins.trackers.wandb import Wandb

    return Wandb(options)


@hookimpl
def guardcore_register_trackers(register: Registrar) -> None:
    """Register the trackers."""
    register("console", console)
    register("jsonl", jsonl)
    register("tensorboard", tensorboard)
    register("wandb", wandb)
