"""The built-in trackers."""

from __future__ import annotations

from pathlib import Path

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


def console(options: ConsoleOptions) -> Tracker:
    """A live display on standard error: progress, rewards, ratio, clip fractions, time."""
    from guardcore_plugins.trackers.console import Console

    return Console(options.title)


def jsonl(options: JsonlOptions) -> Tracker:
    """One JSON object an iteration, to standard output or a file of your own."""
    from guardcore_plugins.trackers.jsonl import Jsonl

    return Jsonl(options.path)


@hookimpl
def guardcore_register_trackers(register: Registrar) -> None:
    """Register the two trackers."""
    register("console", console)
    register("jsonl", jsonl)
