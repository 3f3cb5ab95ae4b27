"""``guardcore bench``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guardcore.errors import GuardcoreError
from guardcore_cli import parameters

if TYPE_CHECKING:
    from guardcore.bench.cases import Further
    from guardcore.bench.result import Result
    from guardcore.config import RunConfig
    from guardcore.layers import Overrides

EMBEDDED_BESIDE = (Path("tiny-flux"),)
EMBEDDED_JUDGES = ("jpeg-size", "ocr")
EMBEDDED_JUDGE_PROMPTS = "tiny-world:task=digits"

Pairs = Annotated[
    int, typer.Option(min=1, help="Iterations of our loop and of the bare one, in turn.")
]
Scaling = Annotated[
    bool,
    typer.Option(help="Also half and twice the batch size, steps, group size and resolution."),
]
Processes = Annotated[
    str | None,
    typer.Option(
        help="Also the iteration in so many processes of this machine, as 1,2,4: each with the "
        "threads of OMP_NUM_THREADS, else its share of the processors, or with a GPU of its own.",
        metavar="N,N",
    ),
]
Rewards = Annotated[
    bool,
    typer.Option(
        help="Also each reward by itself: the config's, those it has reward_options for, and "
        "every --judge."
    ),
]
Judge = Annotated[
    list[str] | None,
    typer.Option(
        help="A reward to time though the config doesn't name it; repeat for several. Without a "
        f"CONFIG: {', '.join(EMBEDDED_JUDGES)}."
    ),
]
JudgePrompts = Annotated[
    str | None,
    typer.Option(
        help="Prompts of the images that --judge looks at. Default: the config's; without a "
        f"CONFIG: {EMBEDDED_JUDGE_PROMPTS}."
    ),
]
Beside = Annotated[
    list[Path] | None,
    typer.Option(
        help="Another config to measure, its rewards left out, under the same flags but those of "
        f"the backbone; repeat for several. Without a CONFIG: {EMBEDDED_BESIDE[0]}."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable.")]
Against = Annotated[Path | None, typer.Option(help="What an earlier `bench --json` wrote.")]


@dataclass(frozen=True)
class Order:
    """What to measure."""

    config: RunConfig
    beside: Mapping[str, RunConfig]
    pairs: int
    scaling: bool
    processes: tuple[int, ...]
    rewards: bool
    further: Further


def bench(
    config: parameters.Config = None,
    strategy: parameters.Strategy = None,
    backbone: parameters.Backbone = None,
    sampler: parameters.Sampler = None,
    ratio: parameters.Ratio = None,
    gradient_weight: parameters.GradientWeight = None,
    reward: parameters.Reward = None,
    assignments: parameters.Set = None,
    pairs: Pairs = 5,
    scaling: Scaling = True,
    processes: Processes = None,
    rewards: Rewards = True,
    judge: Judge = None,
    judge_prompts: JudgePrompts = None,
    beside: Beside = None,
    as_json: AsJson = False,
    against: Against = None,
    without: parameters.Without = None,
    debug: parameters.Debug = False,
) -> None:
    """Measure an iteration and a bare loop beside it, each reward, and other models."""
    from guardcore.bench.result import Result
    from guardcore.layers import Overrides
    from guardcore_cli.loading import EMBEDDED, load_config

    overrides = Overrides(
        strategy=strategy,
        backbone=backbone,
        sampler=sampler,
        ratio=ratio or (),
        gradient_weight=gradient_weight or (),
        reward=reward or (),
        assignments=assignments or (),
    )
    others = beside or (() if config else EMBEDDED_BESIDE)
    order = Order(
        load_config(config or (), overrides),
        {str(other): load_config((other,), _but_the_backbone(overrides)) for other in others},
        pairs,
        scaling,
        _numbers(processes) if processes is not None else (),
        rewards,
        _further(judge, judge_prompts, embedded=not config),
    )
    earlier = Result.read(against) if against else None
    result = _measured(order)
    _show(" ".join(map(str, config or (EMBEDDED,))), result, earlier, as_json)


def _numbers(text: str) -> tuple[int, ...]:
    """Parse numbers of processes; one is always among them, since all compare with it.

    Raises:
        GuardcoreError: It is something else.

    >>> _numbers("4,2")
    (1, 2, 4)
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and int(part) > 0 for part in parts):
        raise GuardcoreError(f"--processes {text!r}: expected numbers of processes, as 1,2,4")
    return tuple(sorted({1, *map(int, parts)}))


def _but_the_backbone(overrides: Overrides) -> Overrides:
    """Return the flags that make sense for another model."""
    assignments = [text for text in overrides.assignments if not text.startswith("backbone")]
    return replace(overrides, backbone=None, assignments=assignments)


def _further(judges: list[str] | None, prompts: str | None, *, embedded: bool) -> Further:
    """Return the rewards of ``--judge`` and their prompts, or what stands for them."""
    from guardcore.bench.cases import Further
    from guardcore.layers import parse_component
    from guardcore.spec import Spec, WeightedSpec

    names = judges or (EMBEDDED_JUDGES if embedded else ())
    source = prompts or (EMBEDDED_JUDGE_PROMPTS if embedded else None)
    return Further(
        [WeightedSpec.model_validate(parse_component(name)) for name in names],
        Spec.model_validate(parse_component(source)) if source else None,
    )


def _measured(order: Order) -> Result:
    """Check everything before torch is imported, then measure it."""
    from guardcore.bench.cases import cases
    from guardcore.binding import bind
    from guardcore.plugins import PluginHost

    registry = PluginHost.on_demand().registry
    binding = bind(order.config, registry)
    timed = cases(order.config, binding, registry, order.further) if order.rewards else ()
    for other in order.beside.values():
        bind(other, registry)

    from guardcore.bench.beside import measure_beside
    from guardcore.bench.measure import iterations, measure

    pairs, scaling, processes = order.pairs, order.scaling, order.processes
    configs = (order.config, *order.beside.values())
    turns = sum(iterations(each, pairs, scaling) + len(processes) for each in configs)
    with _bar(turns + len(timed)) as tell:
        result = measure(
            order.config,
            pairs=pairs,
            scaling=scaling,
            processes=processes,
            rewards=order.rewards,
            further=order.further,
            tell=tell,
        )
        others = measure_beside(
            order.beside, pairs, tell, registry, scaling=scaling, processes=processes
        )
        return result.model_copy(update={"beside": others})


def _show(name: str, result: Result, earlier: Result | None, as_json: bool) -> None:
    """Print to standard output; beside JSON the comparison goes to standard error."""
    from guardcore_cli.measured import print_comparison, print_result

    if as_json:
        typer.echo(result.model_dump_json(indent=1))
    else:
        print_result(result, name)
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
