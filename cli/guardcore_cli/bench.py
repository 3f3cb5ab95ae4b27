"""``guardcore bench``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guardcore_cli import parameters

if TYPE_CHECKING:
    from guardcore.bench.result import Result


def bench(
    config: parameters.Config = None,
    strategy: parameters.Strategy = None,
    backbone: parameters.Backbone = None,
    sampler: parameters.Sampler = None,
    ratio: parameters.Ratio = None,
    gradient_weight: parameters.GradientWeight = None,
    reward: parameters.Reward = None,
    assignments: parameters.Set = None,
    pairs: Annotated[
        int, typer.Option(min=1, help="Iterations of our loop and of the bare one, in turn.")
    ] = 5,
    scaling: Annotated[
        bool, typer.Option(help="Also half and twice the batch, steps and group size.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    against: Annotated[
        Path | None, typer.Option(help="What an earlier `bench --json` wrote.")
    ] = None,
    debug: parameters.Debug = False,
) -> None:
    """Measure an iteration: its phases, images a second, memory, and a bare loop beside it."""
    from guardcore.bench.result import Result
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
    settings = load_config(config or (), overrides)
    earlier = Result.read(against) if against else None
    bind(settings, PluginHost.discover().registry)  # mistakes show before torch is imported
    from guardcore.bench.measure import iterations, measure

    with _bar(iterations(settings, pairs, scaling)) as tell:
        result = measure(settings, pairs=pairs, scaling=scaling, tell=tell)
    _show(result, earlier, as_json)


def _show(result: Result, earlier: Result | None, as_json: bool) -> None:
    """Print to standard output; beside JSON the comparison goes to standard error."""
    from guardcore_cli.measured import print_comparison, print_result

    if as_json:
        typer.echo(result.model_dump_json(indent=1))
    else:
        print_result(result)
    if earlier is not None:
        print_comparison(earlier, result, stderr=as_json)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[str], None]]:
    """Show on standard error how many iterations are done, and what the one at hand is for."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:>22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    console, done = Console(stderr=True), count()
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("loading", total=total)

        def tell(what: str) -> None:
            progress.update(task, description=what, completed=next(done))

        yield tell
