"""How an iteration's images are dealt to micro-batches, updates and processes."""

from __future__ import annotations

from pydantic import BaseModel, Field

from guardcore.config import RunConfig
from guardcore.plan import micro_batches, shares, trained_steps


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
    trained_steps: list[int]
    updates: int
    samples_an_update: list[int] = Field(description="images that each update sees")
    terms_an_update: list[int] = Field(description="(image, step) terms of each update's loss")


def geometry(config: RunConfig, processes: int = 1) -> Geometry:
    """Deal micro-batches to the processes in turn: 0, 1, …, 0, 1, …."""
    rollout, train = config.rollout, config.train
    images = rollout.groups * rollout.group_size
    batches = micro_batches(images, rollout.batch_size)
    dealt = [batches[process::processes] for process in range(processes)]
    sizes = [sum(map(len, own)) for own in dealt]
    steps = list(trained_steps(rollout, config.seed, 1))
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
        updates=train.updates_per_iteration,
        samples_an_update=samples,
        terms_an_update=[number * len(steps) for number in samples],
    )
