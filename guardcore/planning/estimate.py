"""A config's cost on one device, computed from its backbone's outline."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, Field

from guardcore.bound import validate_options
from guardcore.config import RunConfig
from guardcore.outline import Outline
from guardcore.planning.costs import Costs
from guardcore.planning.geometry import Geometry
from guardcore.planning.memory import Memory, memory
from guardcore.planning.request import Request
from guardcore.planning.work import Work, work
from guardcore.registry import Registry


class PartSize(BaseModel):
    """A module of the backbone."""

    name: str
    parameters: int
    bytes: int = Field(description="on the device")
    note: str


class Estimate(BaseModel):
    """A config's cost, computed from its backbone's outline."""

    parts: list[PartSize]
    trainable: int = Field(description="parameters")
    memory: Memory
    work: Work
    seconds: float | None = Field(description="an iteration's arithmetic at the given FLOP/s")


def outline_of(config: RunConfig, registry: Registry) -> Outline | None:
    """Return the backbone's outline under the config's options; None where it has none.

    Raises:
        GuardcoreError: No such backbone, options that it refuses, or shapes that can't be read.
    """
    entry = registry.find("backbone", config.backbone.use)
    options = validate_options(entry, config.backbone.options, "backbone")
    make: Callable[[], Outline] | None = getattr(options, "outline", None)
    return None if make is None else make()


def costs_of(config: RunConfig, outline: Outline) -> Costs:
    """Return the costs of the config's micro-batches; nothing is traced yet."""
    rollout = config.rollout
    rows = min(rollout.batch_size, rollout.groups * rollout.group_size)
    return Costs(outline, (rollout.height, rollout.width), rows)


def memory_of(config: RunConfig, costs: Costs, dealt: Geometry) -> Memory:
    """Return what a process holds."""
    rows = min(config.rollout.batch_size, dealt.images)
    together = rows * min(config.train.steps_per_forward, len(dealt.trained_steps))
    every = {**costs.all(rows), "update": costs.of("update", together)}
    return memory(config, costs.outline, dealt, costs.sizes(), every)


def estimate(config: RunConfig, costs: Costs, dealt: Geometry, request: Request) -> Estimate:
    """Return the estimate; this traces the backbone, which takes seconds."""
    rows = min(config.rollout.batch_size, dealt.images)
    forward, update, decode = (
        costs.of(piece, rows).flops // rows for piece in ("forward", "update", "decode")
    )
    done = work(config, dealt, forward, update, decode)
    held = memory_of(config, costs, dealt)
    trained = {id(p): p.numel() for p in costs.outline.backbone.trainable().values()}
    parts = [
        PartSize(
            name=name,
            parameters=sum(p.numel() for p in part.module.parameters() if id(p) not in trained),
            bytes=part.held,
            note=part.note,
        )
        for name, part in costs.outline.parts.items()
    ]
    return Estimate(
        parts=parts,
        trainable=sum(trained.values()),
        memory=held,
        work=done,
        seconds=_seconds(done, dealt, request),
    )


def _seconds(done: Work, dealt: Geometry, request: Request) -> float | None:
    """Return the time of the busiest process."""
    if request.flops is None:
        return None
    share = dealt.images_a_process / dealt.images
    return done.iteration * share / (request.flops * request.utilization)
