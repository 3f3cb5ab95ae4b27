"""A plan, for a person."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from guardcore_cli.sizes import duration, written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guardcore.config import RunConfig
    from guardcore.planning.estimate import Estimate
    from guardcore.planning.geometry import Geometry
    from guardcore.planning.plan import Plan

_WHEN = {
    "prepare": "while embedding the prompts",
    "rollout": "in the rollout",
    "decode": "in the decoding",
    "update": "in the update",
    "optimizer": "in the optimizer's step",
    "evaluate": "in an evaluation",
}


def print_plan(plan: Plan, config: RunConfig) -> None:
    """Print sizes, memory, work and what to change."""
    console = Console(highlight=False)
    for line in _geometry_lines(plan.geometry, config):
        console.print(line, markup=False, soft_wrap=True)
    found = plan.estimate
    if found is None:
        line = f"{plan.backbone} has no outline: memory and time can't be foretold"
        console.print(line, markup=False, soft_wrap=True)
        return
    for table in (_parts(found), _memory(found)):
        console.print()
        console.print(table)
    console.print()
    for line in (*_work_lines(plan, found), *_verdict(plan, found)):
        console.print(line, markup=False, soft_wrap=True)


def _geometry_lines(dealt: Geometry, config: RunConfig) -> Iterator[str]:
    rollout, train = config.rollout, config.train
    yield (
        f"an iteration: {rollout.groups} prompts × {rollout.group_size} images = {dealt.images}, "
        f"in {dealt.micro_batches} micro-batches, the last of {dealt.last_batch}; "
        f"{rollout.num_inference_steps} steps, of them trained: {_trained(dealt)}; "
        f"{train.updates_per_iteration} updates; {train.iterations} iterations"
    )
    sees = ", ".join(
        f"{samples:,} images = {terms:,} terms"
        for samples, terms in dict(
            zip(dealt.samples_an_update, dealt.terms_an_update, strict=True)
        ).items()
    )
    yield f"an update sees {sees}"
    if dealt.rounds > 1:
        yield (
            f"groups of one score are refilled: up to {dealt.rounds}× the rollout, decode and "
            "rewards of one round, which is what the figures here are of"
        )
    if dealt.processes > 1:
        yield (
            f"over {dealt.processes} processes: {dealt.smallest_share} to {dealt.largest_share} "
            f"micro-batches each, at most {dealt.images_a_process} images; {dealt.idle:.0%} of "
            "the processes' time spent waiting for the busiest"
        )


def _trained(dealt: Geometry) -> str:
    most, reached = dealt.trained_steps, dealt.reached_steps
    return str(reached) if most == reached else f"{len(most)} an iteration, of {reached}"


def _parts(found: Estimate) -> Table:
    table = Table("part", box=None, pad_edge=False)
    table.add_column("parameters", justify="right")
    table.add_column("on the device", justify="right")
    table.add_column("as")
    for part in found.parts:
        numbers = _millions(part.parameters), written(part.bytes, "B")
        table.add_row(part.name, *numbers, escape(part.note))
    table.add_row("trained", _millions(found.trainable), "", "in float32")
    return table


def _millions(number: int) -> str:
    return f"{number / 1e6:,.1f} M"


def _memory(found: Estimate) -> Table:
    """Tell what is there at the peak; the smallest last."""
    memory = found.memory
    table = Table(f"memory {_WHEN[memory.phase]}", box=None, pad_edge=False)
    table.add_column("size", justify="right")
    table.add_column("")
    there = [item for item in memory.items if memory.phase in item.phases and item.bytes]
    for item in sorted(there, key=lambda item: -item.bytes):
        table.add_row(item.name, written(item.bytes, "B"), escape(item.note))
    besides = memory.peak - sum(item.bytes for item in there)
    table.add_row("context, fragments", written(besides, "B"), "an allowance")
    table.add_row("peak", written(memory.peak, "B"), _others(memory.by_phase, memory.phase))
    return table


def _others(by_phase: dict[str, int], phase: str) -> str:
    others = {name: size for name, size in by_phase.items() if name != phase}
    return ", ".join(f"{name} {written(size, 'B')}" for name, size in others.items())


def _work_lines(plan: Plan, found: Estimate) -> Iterator[str]:
    work = found.work
    yield (
        f"{written(work.iteration, 'FLOP')} an iteration: rollout {written(work.rollout, 'FLOP')}, "
        f"decode {written(work.decode, 'FLOP')}, update {written(work.update, 'FLOP')}; "
        f"an evaluation {written(work.evaluation_an_image, 'FLOP')} an image"
    )
    if found.seconds is not None:
        yield (
            f"{duration(found.seconds)} an iteration at {plan.request.utilization:.0%} of "
            f"{written(plan.request.flops or 0, 'FLOP/s')}"
        )
    yield f"not in these figures: the rewards ({', '.join(plan.rewards)}) and encoding the prompts"


def _verdict(plan: Plan, found: Estimate) -> Iterator[str]:
    if plan.request.memory is None:
        return
    size, peak = written(plan.request.memory, "B"), written(found.memory.peak, "B")
    if plan.fits:
        yield f"fits {size}: {peak}"
        return
    yield f"does not fit {size}: {peak}; change, in this order:"
    for change in plan.remedies:
        settings = " ".join(_setting(path, value) for path, value in change.settings.items())
        yield f"  {settings}  →  {written(change.peak, 'B')} ({change.cost})"
    if plan.fits_then:
        yield "then it fits"
    else:
        yield "nothing more is known to help: fewer pixels, a smaller model or a larger device"


def _setting(path: str, value: bool | int | str | None) -> str:
    from guardcore.option_fields import as_yaml

    return f"--set {shlex.quote(f'{path}={as_yaml(value)}')}"
