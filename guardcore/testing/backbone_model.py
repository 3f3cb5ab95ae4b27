"""The laws of what a backbone computes: conditions, schedule, velocity, images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import Module

from guardcore.condition import Condition
from guardcore.schedule import Schedule
from guardcore.testing.law import BrokenError
from guardcore.testing.probe import TEXTS, Probe

ROWS = len(TEXTS)


def latent_shape(probe: Probe) -> None:
    """The shape of one row of latents is told for an image size."""
    shape = probe.backbone.latent_shape(probe.height, probe.width)
    sound = isinstance(shape, Sequence) and all(isinstance(n, int) and n > 0 for n in shape)
    if not sound or not shape:
        raise BrokenError(f"expected the sizes of one row, all above 0, received {shape!r}")


def schedule_ends_in_zero(probe: Probe) -> None:
    """It has the steps asked for; ``Schedule`` itself refuses levels that do not fall to 0."""
    for steps in (1, 2, 10, 28):
        schedule = probe.backbone.schedule(steps, probe.height, probe.width)
        if not isinstance(schedule, Schedule):
            raise BrokenError(f"expected a Schedule, received a {type(schedule).__name__}")
        if len(schedule) != steps:
            raise BrokenError(f"{steps} steps were asked for, the schedule has {len(schedule)}")
        again = probe.backbone.schedule(steps, probe.height, probe.width)
        probe.same(schedule.sigmas, again.sigmas, f"a schedule of {steps} steps, made twice")


def a_row_a_prompt(probe: Probe) -> None:
    """A condition has a row a prompt in each tensor, and remembers the image size."""
    condition = probe.encode(probe.prompts)
    if not isinstance(condition, Condition):
        raise BrokenError(f"expected a Condition, received a {type(condition).__name__}")
    if (condition.height, condition.width) != (probe.height, probe.width):
        raise BrokenError(
            f"asked for {probe.height}×{probe.width} pixels, "
            f"the condition says {condition.height}×{condition.width}"
        )
    for name, tensor in condition.tensors.items():
        if tensor.ndim < 1 or len(tensor) != ROWS:
            raise BrokenError(f"{name} must have a row a prompt, {ROWS}, has {list(tensor.shape)}")
    if not condition.tensors:
        raise BrokenError("the condition holds no tensor, so it has no rows to choose from")


def velocity_like_latents(probe: Probe) -> None:
    """A velocity is finite, in the latents' shape, and leaves the latents alone."""
    x = probe.x.clone()
    velocity = probe.velocity()
    if velocity.shape != x.shape:
        raise BrokenError(
            f"expected {list(x.shape)} as the latents, received {list(velocity.shape)}"
        )
    if not velocity.is_floating_point() or not velocity.isfinite().all():
        raise BrokenError(f"expected finite floating-point numbers, received {velocity.dtype}")
    probe.same(x, probe.x, "the latents, changed in place")


def deterministic(probe: Probe) -> None:
    """Asked twice, it answers the same to the bit."""
    probe.same(probe.velocity(), probe.velocity(), "a velocity, computed twice")
    again = probe.encode(probe.prompts).tensors
    for name, tensor in probe.condition.tensors.items():
        probe.same(tensor, again[name], f"the condition's {name}, encoded twice")
    with torch.no_grad():
        first, second = (probe.backbone.decode(probe.x, probe.condition) for _ in range(2))
    probe.same(first, second, "an image, decoded twice")


def rows_independent(probe: Probe) -> None:
    """A row's velocity does not depend on the rows beside it, at whatever steps they are."""
    whole = probe.velocity()
    turned = _rows(probe, [1, 0])
    probe.alike(whole, turned.flip(0), "the rows in reverse order")
    for row in range(ROWS):
        probe.alike(whole[row : row + 1], _rows(probe, [row]), f"row {row} by itself")


@torch.no_grad()
def _rows(probe: Probe, rows: list[int]) -> Tensor:
    condition = probe.condition.rows(rows)
    return probe.backbone.velocity(probe.x[rows], probe.sigma[rows], condition)


def conditions_join(probe: Probe) -> None:
    """Prompts encoded one by one and joined are as encoded together."""
    apart = Condition.cat([probe.encode([prompt]) for prompt in probe.prompts])
    probe.alike(probe.velocity(), probe.velocity(apart), "prompts encoded one by one and joined")


def images_in_unit_interval(probe: Probe) -> None:
    """Images have the size that was asked for, and lie in [0, 1] for any latents."""
    for scale in (1, 50):  # 50: as latents that have come apart
        images = _decoded(probe, scale * probe.x)
        wanted = (ROWS, 3, probe.height, probe.width)
        if images.shape != wanted or not images.is_floating_point():
            raise BrokenError(
                f"expected floating-point images {list(wanted)}, "
                f"received {images.dtype} {list(images.shape)}"
            )
        if not (images.isfinite().all() and images.min() >= 0 and images.max() <= 1):
            low, high = images.min().item(), images.max().item()
            raise BrokenError(f"expected images in [0, 1], received {low:.3g} to {high:.3g}")


def images_in_order(probe: Probe) -> None:
    """Latents in another order are images in that order."""
    images = _decoded(probe, probe.x)
    turned = probe.backbone.decode(probe.x.flip(0), probe.condition.rows([1, 0]))
    gap = (images - turned.flip(0)).abs().max().item()
    if gap > 2 / 255:  # a VAE in half precision rounds by a level or two of a byte
        raise BrokenError(f"latents in reverse order give other images, by up to {gap:.2g}")


@torch.no_grad()
def _decoded(probe: Probe, x: Tensor) -> Tensor:
    return probe.backbone.decode(x, probe.condition)


def guidance_comes_back(probe: Probe) -> None:
    """Optional: another scale inside, the old one after it, whatever happens."""
    guidance = getattr(probe.backbone, "guidance", None)
    if guidance is None:
        return
    before = probe.velocity()
    with guidance(3.0):
        inside = probe.velocity(probe.encode(probe.prompts))
    if inside.shape != before.shape or not inside.isfinite().all():
        raise BrokenError(f"expected a finite velocity {list(before.shape)} under another guidance")
    probe.same(before, probe.velocity(), "the velocity after guidance(scale) was left")
    try:
        with guidance(3.0):
            raise _StopError
    except _StopError:
        probe.same(before, probe.velocity(), "the velocity after an error within guidance(scale)")


class _StopError(Exception):
    pass


def prepare_changes_nothing(probe: Probe) -> None:
    """Optional: told which texts will come, lazily and with repetitions."""
    prepare = getattr(probe.backbone, "prepare", None)
    if prepare is not None:
        prepare(text for text in (*TEXTS, "a text of its own", *TEXTS))
        probe.same(
            probe.velocity(),
            probe.velocity(probe.encode(probe.prompts)),
            "the velocity after prepare(texts)",
        )


def blocks_are_modules(probe: Probe) -> None:
    """Optional: what is sharded."""
    blocks = getattr(probe.backbone, "blocks", None)
    if blocks is not None:
        found = list(blocks())
        if not found or not all(isinstance(block, Module) for block in found):
            raise BrokenError(f"expected torch modules, at least one, received {found!r:.80}")


LAWS: Sequence[Callable[[Probe], None]] = (
    latent_shape,
    schedule_ends_in_zero,
    a_row_a_prompt,
    velocity_like_latents,
    deterministic,
    rows_independent,
    conditions_join,
    images_in_unit_interval,
    images_in_order,
    guidance_comes_back,
    prepare_changes_nothing,
    blocks_are_modules,
)
