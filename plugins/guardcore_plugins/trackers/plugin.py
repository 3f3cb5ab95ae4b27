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


def console(options: Options) -> Tracker:
    """A live display on standard error: progress, rewards, ratio, clip fractions, time."""
    from guardcore_plugins.trackers.console import Console

    return Console()


def jsonl(options: JsonlOptions) -> Tracker:
    """One JSON object an iteration, to standard output or a file of your own."""
    from guardcore_plugins.trackers.jsonl import Jsonl

    return Jsonl(options.path)


@hookimpl
def guardcore_register_trackers(register: Registrar) -> None:
    """Register the two trackers."""
    register("console", console)
    register("jsonl", jsonl)
