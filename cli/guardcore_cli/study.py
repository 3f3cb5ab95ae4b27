"""``guardcore study``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guardcore_cli import parameters
from guardcore_cli.leaving import preemptible

if TYPE_CHECKING:
    from guardcore.layers import Overrides
    from guardcore.plugins import PluginHost
    from guardcore.registry import Registry
    from guardcore.study import Cell, Grid, StudyDirectory
    from guardcore.study.running import Ended

_STUDIES = Path("studies")
_CONFIGS = (Path("tiny-sd3"), Path("tiny-study"))
_STRATEGIES = (
    *("plain", "temp-reweight", "mean-revised", "ratio-norm", "guard"),  # the paper's ladder
    *("dppo", "flat-norm"),
)
_SEEDS = (0, 1, 2)

Config = Annotated[
    list[Path] | None,
    typer.Argument(
        help="YAML files, run directories or profiles' names, each laid over the one before: "
        "what all runs share. Without one, the study that --out holds, or "
        f"{' '.join(map(str, _CONFIGS))}."
    ),
]
Strategies = Annotated[
    list[str] | None,
    typer.Option(help=f"Repeat for several. Default: {', '.join(_STRATEGIES)}."),
]
Seeds = Annotated[
    list[int] | None,
    typer.Option(min=0, help=f"Repeat for several. Default: {', '.join(map(str, _SEEDS))}."),
]
Vary = Annotated[
    list[str] | None,
    typer.Option(
        help="PATH=VALUE,VALUE for any config key, e.g. train.learning_rate=1e-3,2e-3; "
        "repeat for every combination."
    ),
]


def study(
    config: Config = None,
    strategy: Strategies = None,
    seed: Seeds = None,
    vary: Vary = None,
    assignments: parameters.Set = None,
    reward: parameters.Reward = None,
    out: Annotated[
        Path | None, typer.Option(help="The study's directory. Default: studies/DATE.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", "--list", help="Check everything; list the runs, and how far."),
    ] = False,
    without: parameters.Without = None,
    debug: parameters.Debug = False,
) -> None:
    """Run strategies × seeds × settings from one base, and compare them in one table.

    A study goes on where it was stopped, and grows: the same --out with more seeds or strategies
    adds runs. What isn't said is as in the study that is there.
    """
    from guardcore.layers import Overrides
    from guardcore.plugins import PluginHost
    from guardcore.study import StudyDirectory, cells
    from guardcore.study.grid import parse_vary

    overrides = Overrides(reward=reward or (), assignments=assignments or ())
    asked = {
        "strategies": tuple(dict.fromkeys(strategy or ())),
        "seeds": tuple(dict.fromkeys(seed or ())),
        "vary": parse_vary(vary or ()),
    }
    host = PluginHost.on_demand()
    directory = StudyDirectory(out or _new_study())
    base, grids = _asked(directory, config, overrides, asked, host.registry)
    found = cells(base, grids, host.registry)
    if dry_run:
        directory.check(base)
        _list(directory, found)
        return
    directory.remember(base, grids)
    try:
        with preemptible(lambda: _command(directory)):
            _run(directory, found, host)
    except KeyboardInterrupt:
        typer.echo(f"stopped at once; go on with: {_command(directory)}", err=True)
        raise typer.Exit(130) from None


def _asked(
    directory: StudyDirectory,
    config: Sequence[Path] | None,
    overrides: Overrides,
    asked: dict[str, Any],
    registry: Registry,
) -> tuple[dict[str, Any], list[Grid]]:
    """Return the base and the grids of this session; what isn't said is the stored study's."""
    from guardcore.study import Grid
    from guardcore.study.base import base_of
    from guardcore.study.grid import widened
    from guardcore_cli.loading import config_tree

    stored = directory.stored()
    default = Grid(_STRATEGIES, _SEEDS)
    tree, grids = stored or (None, [default])
    if tree is None or config:
        tree = config_tree(config or _CONFIGS)
    return base_of(tree, overrides, registry), widened(grids, asked)


def _run(directory: StudyDirectory, cells: Sequence[Cell], host: PluginHost) -> None:
    from guardcore.study import run_cells
    from guardcore.study.progress import progress
    from guardcore.study.tables import write_page, write_tables
    from guardcore_cli.studied import Display

    states = [progress(directory, cell) for cell in cells]
    display = Display(directory, cells)
    display.begin(states)
    waiting = [state.cell for state in states if not state.finished]
    ended: list[Ended] = []
    for one in run_cells(directory, waiting, host, display.title):
        ended.append(one)
        display.ended(one)
        write_tables(directory)
    display.tables(write_tables(directory))
    if all(one.how != "stopped" for one in ended):  # whoever stops it wants to go
        write_page(directory)
    display.places()
    _conclude(directory, ended)


def _conclude(directory: StudyDirectory, ended: Sequence[Ended]) -> None:
    """Say what is not as it should be, and exit with its code."""
    from guardcore.signals import exit_code

    for one in ended:
        if one.how == "failed":
            where = directory.run(one.cell.name) / "error.log"
            more = f" ({where})" if where.is_file() else ""
            typer.echo(f"failed: {one.cell.name}: {one.reason}{more}", err=True)
    last = ended[-1] if ended else None
    if last is not None and last.signal is not None:
        typer.echo(
            f"stopped by {last.signal.name} after iteration {last.iteration} of {last.cell.name}; "
            f"go on with: {_command(directory)}",
            err=True,
        )
        raise typer.Exit(exit_code(last.signal))
    if any(one.how == "failed" for one in ended):
        typer.echo(f"try them again with: {_command(directory)}", err=True)
        raise typer.Exit(1)


def _list(directory: StudyDirectory, cells: Sequence[Cell]) -> None:
    from guardcore.study.progress import progress
    from guardcore_cli.studied import print_list

    print_list([progress(directory, cell) for cell in cells])


def _command(directory: StudyDirectory) -> str:
    return f"guardcore study --out {shlex.quote(str(directory.path))}"


def _new_study() -> Path:
    return _STUDIES / datetime.now().astimezone().strftime("%Y-%m-%d-%H%M%S")
