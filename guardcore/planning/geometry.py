"""How an iteration's images are dealt to micro-batches, updates and processes."""

from __future__ import annotations

from pydantic import BaseModel, Field

from guardcore.config import RunConfig
from guardcore.plan import micro_batches, shares
from guardcore.registry import Registry
from guardcore.trained_steps import built_window, find_window

LOOKED_AT = 1000
"""Iterations, evenly spread over a run, whose trained steps are looked at."""


class Geometry(BaseModel):
    """The sizes of an iteration; nothing has to be divisible by anything."""

    processes: int
    images: int = Field(description="an iteration")
    micro_batches: int = Field(description="an iteration, over all processes")
    last_batch: int = Field(description="images in the last micro-batch")
    largest_share: int = Field(description="micro-batches of the process that has most")
    smallest_share: int = Field(description="micro-batches of the process that has fewest")
    images_a_process: int = Field(description="of the process that has most")
    idle: float = Field(description="share of the processes' time spent waiting for the busiest")
    trained_steps: list[int] = Field(description="of the iteration that trains most")
    reached_steps: list[int] = Field(description="that some iteration trains")
    rounds: int = Field(description="of sampling, at most: groups without a spread are refilled")
    updates: int
    samples_an_update: list[int] = Field(description="images that each update sees")
    terms_an_update: list[int] = Field(description="(image, step) terms of each update's loss")


def geometry(config: RunConfig, registry: Registry, processes: int = 1) -> Geometry:
    """Deal micro-batches to the processes in turn: 0, 1, …, 0, 1, ….

    Raises:
        GuardcoreError: The window of trained steps is unknown, or doesn't fit.
    """
    rollout, train = config.rollout, config.train
    images = rollout.groups * rollout.group_size
    batches = micro_batches(images, rollout.batch_size)
    dealt = [batches[process::processes] for process in range(processes)]
    sizes = [sum(map(len, own)) for own in dealt]
    windows = _windows(config, registry)
    steps = max(windows, key=len)
    parts = shares(len(batches), train.updates_per_iteration, train.samples_per_update)
    samples = [sum(len(batches[place]) for place in part) for part in parts]
    return Geometry(
        processes=processes,
        images=images,
        micro_batches=len(batches),
        last_batch=len(batches[-1]),
        largest_share=max(map(len, dealt)),
        smallest_share=min(map(len, dealt)),
        images_a_process=max(sizes),
        idle=1 - images / (processes * max(sizes)),
        trained_steps=steps,
        reached_steps=sorted({step for window in windows for step in window}),
        rounds=1 + rollout.refill,
        updates=train.updates_per_iteration,
        samples_an_update=samples,
        terms_an_update=[number * len(steps) for number in samples],
    )


def _windows(config: RunConfig, registry: Registry) -> list[list[int]]:
    """Return the trained steps of the run's iterations, or of many of them."""
    window = built_window(find_window(config, registry), config.rollout.num_inference_steps)
    number = config.train.iterations
    looked_at = dict.fromkeys(1 + number * place // LOOKED_AT for place in range(LOOKED_AT))
    return [window.at(config.seed, iteration) for iteration in looked_at]
