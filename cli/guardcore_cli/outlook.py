"""What a run is going to do, and what it has done, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from guardcore.config import RunConfig
    from guardcore.loop import Outcome


def describe(config: RunConfig) -> None:
    """Print the components, then what ``guardcore plan`` says, building nothing.

    Raises:
        ConfigError: Every problem.
    """
    from guardcore.binding import bind
    from guardcore.planning.request import Request
    from guardcore.plugins import PluginHost

    registry = PluginHost.on_demand().registry
    binding = bind(config, registry)
    table = Table(box=None, show_header=False, pad_edge=False)
    for bound in binding.all():
        options = ", ".join(f"{k}={v}" for k, v in bound.options.model_dump(mode="json").items())
        table.add_row(bound.path, bound.entry.qualified, escape(options))
    console = Console()
    console.print(table)
    for warning in binding.warnings:
        console.print(f"warning: {warning}", style="yellow")
    console.print()
    from guardcore.planning.plan import make_plan  # imports torch: mistakes have shown by now
    from guardcore_cli.planned import print_plan

    print_plan(make_plan(config, registry, Request()), config)


def print_result(outcome: Outcome) -> None:
    """Print what changed on the held-out prompts, and where everything is.

    To standard error, as all that is for a person only: a tracker may have standard output.
    """
    from guardcore.change import changes
    from guardcore.run_directory import RunDirectory

    record, console = RunDirectory(outcome.directory), Console(stderr=True)
    before, after = record.read_samples(0), record.read_samples(outcome.iteration)
    places = {
        "report:  ": record.report,
        "finished:": record.path,
        "adapter: ": record.adapter,
    }
    if before and after:
        table = Table("held-out", "before", "after", "change ± paired s.e.", "images", box=None)
        for row in changes(before, after):
            means = [f"{mean:.3f}" for mean in (row.before, row.after)]
            change = f"{row.difference:+.3f} ± {row.error:.3f}"
            table.add_row(escape(row.name), *means, change, str(row.images))
        console.print(table)
        places = {"sample grids:": record.samples, **places}
    for title, place in places.items():
        if place.exists():
            console.print(f"{title} {place}", highlight=False, markup=False, soft_wrap=True)
