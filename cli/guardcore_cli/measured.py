"""What ``bench`` found, for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from guardcore_cli.scaled import print_scaled

if TYPE_CHECKING:
    from guardcore.bench.comparison import Change
    from guardcore.bench.result import Result

_MEANING = {
    "encode": "prompts to embeddings, each text only once a run",
    "rollout": "model forwards while sampling",
    "decode": "latents to images",
    "waiting": "for the rewards of the last images",
    "forward": "model forwards while updating",
    "backward": "gradients",
    "optimizer": "clipping, AdamW, moving averages",
    "rest": "noise, sampler, ratio, loss, figures, checks",
}


def print_result(result: Result, name: str) -> None:
    """Print phases, scaling, processes, rewards, other configs and the ratio to the bare loop.

    Args:
        result: What was measured.
        name: What the config is called beside others.
    """
    console = Console(highlight=False)
    console.print(_phases(result))
    print_scaled(console, {name: result, **result.beside})
    if result.rewards:
        console.print()
        console.print(_judged(result))
        for line in _reasons(result):
            console.print(line, markup=False, soft_wrap=True)
    if result.beside:
        console.print()
        console.print(_models({name: result, **result.beside}))
    console.print()
    for line in _summary(result):
        console.print(line, markup=False)


def print_comparison(old: Result, new: Result, *, stderr: bool = False) -> None:
    """Print every figure that both measurements hold, and what makes them hard to compare."""
    from guardcore.bench.comparison import changes, differences

    console = Console(highlight=False, stderr=stderr)
    table = Table("against", box=None, pad_edge=False)
    for title in ("old", "new", "change"):
        table.add_column(title, justify="right")
    for change in changes(old, new):
        table.add_row(*_change_cells(change))
    console.print()
    console.print(table)
    for line in differences(old, new):
        console.print(line, markup=False, soft_wrap=True)


def _phases(result: Result) -> Table:
    table = Table("phase", box=None, pad_edge=False)
    table.add_column("seconds", justify="right")
    table.add_column("share", justify="right")
    table.add_column("what it is")
    for phase, seconds in result.phases.items():
        share = f"{seconds / sum(result.phases.values()):.0%}"
        table.add_row(phase, f"{seconds:.3f}", share, _MEANING.get(phase, ""))
    table.add_row("iteration", f"{result.seconds:.3f}", "", f"{result.images} images")
    return table


def _judged(result: Result) -> Table:
    table = Table("reward by itself", box=None, pad_edge=False)
    for title in ("images", "ms an image", "images/s"):
        table.add_column(title, justify="right")
    for row in result.rewards:
        if row.seconds is None or row.images is None or row.images_per_second is None:
            table.add_row(escape(row.name), "", "–", "")
            continue
        took = f"{1000 * row.seconds / row.images:.2f}"
        table.add_row(escape(row.name), str(row.images), took, f"{row.images_per_second:,.0f}")
    return table


def _reasons(result: Result) -> list[str]:
    return [f"{row.name} not timed: {row.reason}" for row in result.rewards if row.reason]


def _models(results: Mapping[str, Result]) -> Table:
    table = Table("model", box=None, pad_edge=False)
    for title in ("s an iteration", "images/s", "floor ratio", "of its pairs"):
        table.add_column(title, justify="right")
    for name, found in results.items():
        spread = f"{min(found.floor_ratios):.3f} to {max(found.floor_ratios):.3f}"
        figures = f"{found.seconds:.2f}", f"{found.images_per_second:.1f}"
        table.add_row(escape(name), *figures, f"{found.floor_ratio:.3f}", spread)
    return table


def _summary(result: Result) -> list[str]:
    ratios = result.floor_ratios
    memory, cpu_ratio = result.peak_memory_bytes, result.cpu_ratio
    by_work = [] if cpu_ratio is None else [f"  by processor time {cpu_ratio:.3f}"]
    return [
        f"{result.images_per_second:.1f} images per second, {result.images} in "
        f"{result.seconds:.2f} s",
        *_rewards(result),
        f"peak memory {memory / 2**20:,.0f} MiB" if memory else "peak memory unknown here",
        f"floor ratio {result.floor_ratio:.3f} ({min(ratios):.3f} to {max(ratios):.3f} in "
        f"{len(ratios)} pairs): ours {result.seconds:.2f} s, bare loop "
        f"{result.floor_seconds:.2f} s",
        *by_work,
        f"on {result.machine}",
        f"config {result.config_digest}",
    ]


def _rewards(result: Result) -> list[str]:
    """Say what the rewards took, and how much of it the iteration waited for."""
    if result.waiting_share is None:
        return []
    took = ", ".join(
        f"{name} {seconds:.3f} s ({result.images / seconds:,.0f} images/s)"
        for name, seconds in result.reward_seconds.items()
    )
    return [f"waiting for rewards {result.waiting_share:.1%}; they took beside it: {took}"]


def _change_cells(change: Change) -> list[str]:
    name = f"{change.name} ({change.unit})" if change.unit else change.name
    relative = "" if change.relative is None else f"{change.relative:+.1%}"
    return [name, f"{change.old:.3f}", f"{change.new:.3f}", relative]
