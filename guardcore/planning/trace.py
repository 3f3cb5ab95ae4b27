"""One micro-batch, run without weights or numbers: its FLOPs and the bytes it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from guardcore.components import Backbone
from guardcore.condition import Condition
from guardcore.errors import ComponentError
from guardcore.outline import Outline
from guardcore.planning.live_bytes import FusedAttention, LiveBytes
from guardcore.tensors import promote


@dataclass(frozen=True)
class Cost:
    """What a piece of work needs: FLOPs (a multiply-add is 2), and bytes at its peak."""

    flops: int
    peak: int


@dataclass(frozen=True)
class Trace:
    """A micro-batch of ``rows`` images.

    Attributes:
        rows: Images.
        forward: The velocity without gradients, as in the rollout.
        update: The velocity with gradients and the backward, recomputation included.
        saved: Bytes that the backward waits for when the forward is done.
        decode: Latents to images.
        latent: Numbers in one image's latents.
        condition: Bytes of one image's condition.
    """

    rows: int
    forward: Cost
    update: Cost
    saved: int
    decode: Cost
    latent: int
    condition: int


def trace(outline: Outline, rows: int, height: int, width: int) -> Trace:
    """Run a micro-batch through an outline.

    Raises:
        ComponentError: The outline can't do what a backbone must.
    """
    try:
        return _trace(outline, rows, height, width)
    except (RuntimeError, NotImplementedError, TypeError, AttributeError) as error:
        raise ComponentError(
            f"backbone: its outline failed, {type(error).__name__}: {error}"
        ) from error


def _trace(outline: Outline, rows: int, height: int, width: int) -> Trace:
    backbone = outline.backbone
    shape = backbone.latent_shape(height, width)
    x, sigma = torch.empty(rows, *shape, device="meta"), torch.empty(rows, device="meta")
    condition = outline.condition(rows, height, width)
    inputs = [x, sigma, *condition.tensors.values()]
    outside = [*inputs, *_still(outline)]

    def velocity() -> Tensor:
        return promote(backbone.velocity(x, sigma, condition))

    with torch.no_grad():
        forward = _measured(velocity, outside)
        decode = _measured(lambda: backbone.decode(x, condition), outside)
    update, saved = _update(backbone, velocity, outside)
    return Trace(
        rows, forward, update, saved, decode, x[0].numel(), _bytes_a_row(condition, rows)
    )


def _measured(work: Callable[[], object], outside: list[Tensor]) -> Cost:
    with _counting(outside) as (flops, live):
        work()
    return Cost(flops.get_total_flops(), live.peak)


def _update(
    backbone: Backbone, velocity: Callable[[], Tensor], outside: list[Tensor]
) -> tuple[Cost, int]:
    """Return the cost of a forward with its backward, and the bytes alive between the two.

    Gradients are there already, as in every micro-batch but the first: they aren't counted.
    """
    parameters = list(backbone.trainable().values())
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    try:
        with _counting([*outside, *gradients]) as (flops, live):
            loss = velocity().square().mean()
            saved = live.now
            loss.backward()  # type: ignore[no-untyped-call]
    finally:
        for parameter in parameters:
            parameter.grad = None
    return Cost(flops.get_total_flops(), live.peak), saved


@contextmanager
def _counting(outside: list[Tensor]) -> Iterator[tuple[FlopCounterMode, LiveBytes]]:
    live, flops = LiveBytes(outside), FlopCounterMode(display=False)
    with FusedAttention(), flops, live:
        yield flops, live


def _still(outline: Outline) -> Iterator[Tensor]:
    """Yield what lies still: weights and buffers."""
    for part in outline.parts.values():
        yield from part.module.parameters()
        yield from part.module.buffers()
    yield from outline.backbone.trainable().values()


def _bytes_a_row(condition: Condition, rows: int) -> int:
    """Return a row's share; tensors that repeat one row hold it once."""
    storages = [tensor.untyped_storage() for tensor in condition.tensors.values()]
    return sum({storage._cdata: storage.nbytes() for storage in storages}.values()) // rows
