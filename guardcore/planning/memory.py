"""What lies on one device at once, phase by phase of an iteration."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, Field, computed_field

from guardcore.config import RunConfig
from guardcore.outline import Outline
from guardcore.planning.geometry import Geometry
from guardcore.planning.trace import Cost

FLOAT = 4
"""Bytes of a float32: adapters, gradients, moments, averages and trajectories."""

CONTEXT = 600 * 2**20
"""Bytes that a CUDA context and its libraries' workspaces take before any tensor."""

FRAGMENTATION = 0.05
"""Share of the tensors' bytes that an allocator holds besides."""

ITERATION = ("rollout", "decode", "update", "optimizer", "evaluate")
PHASES = ("prepare", *ITERATION)


class Item(BaseModel):
    """Something in memory."""

    name: str
    bytes: int
    phases: list[str] = Field(description="of an iteration, in which it is there")
    note: str = ""


class Memory(BaseModel):
    """What lies on one device, in bytes."""

    items: list[Item]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def by_phase(self) -> dict[str, int]:
        """The sum of each phase, with what the allocator holds besides."""
        sums = {p: sum(i.bytes for i in self.items if p in i.phases) for p in PHASES}
        return {phase: int(size * (1 + FRAGMENTATION)) + CONTEXT for phase, size in sums.items()}

    @computed_field  # type: ignore[prop-decorator]
    @property
    def phase(self) -> str:
        """The phase with the peak."""
        return max(self.by_phase, key=lambda phase: self.by_phase[phase])

    @computed_field  # type: ignore[prop-decorator]
    @property
    def peak(self) -> int:
        """The most there is at once."""
        return self.by_phase[self.phase]


def memory(
    config: RunConfig,
    outline: Outline,
    geometry: Geometry,
    sizes: Mapping[str, int],
    costs: Mapping[str, Cost],
) -> Memory:
    """Return what a process of the run holds.

    Args:
        config: Batch, trajectories, EMA, penalties.
        outline: The backbone.
        geometry: Images a process.
        sizes: ``latent``, numbers, and ``condition``, bytes, of one image.
        costs: Of a micro-batch's ``forward``, ``decode`` and ``update``.
    """
    return Memory(
        items=[
            *_weights(outline),
            *_learner(config, outline),
            *_kept(config, geometry, sizes),
            *_work(config, outline, geometry, costs),
        ]
    )


def _weights(outline: Outline) -> list[Item]:
    prepare = outline.prepare_bytes
    return [
        *(
            Item(name=name, bytes=part.held, phases=list(PHASES), note=part.note)
            for name, part in outline.parts.items()
        ),
        Item(name="text encoders", bytes=prepare, phases=["prepare"], note="to fill the cache"),
    ]


def _learner(config: RunConfig, outline: Outline) -> list[Item]:
    """Return what goes with the trained numbers; they are float32 at least."""
    parameters = outline.backbone.trainable().values()
    size = sum(p.numel() * max(FLOAT, p.element_size()) for p in parameters)
    items = [
        Item(name="trained weights", bytes=size, phases=list(PHASES), note="float32"),
        Item(name="gradients", bytes=size, phases=["update", "optimizer"], note="float32"),
        Item(name="Adam's moments", bytes=2 * size, phases=list(ITERATION), note="float32"),
        Item(name="Adam's step", bytes=size, phases=["optimizer"], note="temporary"),
    ]
    if config.train.ema_decay is not None:
        items += [
            Item(name="EMA", bytes=size, phases=list(ITERATION), note="float32"),
            Item(
                name="weights set aside",
                bytes=size,
                phases=["evaluate"],
                note="while the EMA is used",
            ),
        ]
    return items


def _kept(config: RunConfig, geometry: Geometry, sizes: Mapping[str, int]) -> list[Item]:
    """Return what the update scores again: S steps share S + 1 latents, and have S means."""
    phases = ["rollout", "decode", "update", "optimizer"]
    latents = 2 * len(geometry.trained_steps) + 1
    images = geometry.images_a_process * _rounds_kept(config)
    note = f"{'up to ' if images > geometry.images_a_process else ''}{images:,} images"
    if config.rollout.offload_trajectories:
        images = min(images, config.rollout.batch_size)
        note = "in main memory, a micro-batch's here"
    size = images * latents * sizes["latent"] * FLOAT
    return [
        Item(
            name="trajectories", bytes=size, phases=phases, note=f"{note}, {latents} latents each"
        ),
        Item(name="conditions", bytes=images * sizes["condition"], phases=phases, note=note),
    ]


def _rounds_kept(config: RunConfig) -> int:
    """Return how many rounds' images there may be at once.

    A refilled group's go where its micro-batches are whole ones; else a neighbour may keep them.
    """
    rollout = config.rollout
    return 1 if rollout.group_size % rollout.batch_size == 0 else 1 + rollout.refill


def _work(
    config: RunConfig, outline: Outline, geometry: Geometry, costs: Mapping[str, Cost]
) -> list[Item]:
    forward, update = costs["forward"].peak, costs["update"].peak
    if config.penalty:  # the reference runs between the forward and its backward
        update = max(update, costs["update"].saved + forward)
    rows = f"{config.rollout.batch_size} images"
    together = min(config.train.steps_per_forward, len(geometry.trained_steps))
    steps = f" at {together} steps" if together > 1 else ""
    items = [
        Item(name="forward", bytes=forward, phases=["rollout", "evaluate"], note=rows),
        Item(name="VAE decode", bytes=costs["decode"].peak, phases=["decode"], note=rows),
        Item(name="forward and backward", bytes=update, phases=["update"], note=f"{rows}{steps}"),
    ]
    if config.penalty:
        held = outline.reference_bytes
        items.append(Item(name="reference", bytes=held, phases=list(ITERATION), note="frozen"))
    return items
