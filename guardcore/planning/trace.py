"""A micro-batch's pieces of work, run without weights or numbers: their FLOPs and bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from guardcore.condition import Condition
from guardcore.errors import ComponentError
from guardcore.outline import Outline
from guardcore.planning.live_bytes import LiveBytes, fused_attention
from guardcore.tensors import promote


@dataclass(frozen=True)
class Cost:
    """What a piece of work needs.

    Attributes:
        flops: A multiply-add is 2.
        peak: Bytes at once, beside weights, gradients and inputs.
        saved: Bytes that its backward waits for.
    """

    flops: int
    peak: int
    saved: int = 0


@dataclass(frozen=True)
class MicroBatch:
    """Images of one size that are worked on together.

    Attributes:
        outline: The backbone.
        rows: Images.
        height: Pixels.
        width: Pixels.
    """

    outline: Outline
    rows: int
    height: int
    width: int

    @property
    def latent(self) -> int:
        """Numbers in one image's latents."""
        return torch.Size(self.outline.backbone.latent_shape(self.height, self.width)).numel()

    @property
    def condition(self) -> int:
        """Bytes of one image's condition; what repeats one row for all is held once."""
        condition = self.outline.condition(self.rows, self.height, self.width)
        storages = [tensor.untyped_storage() for tensor in condition.tensors.values()]
        return sum({s._cdata: s.nbytes() for s in storages}.values()) // self.rows

    def forward(self) -> Cost:
        """Return the cost of a velocity without gradients, as in the rollout."""
        x, sigma, condition = self._inputs()
        return self._measured(
            lambda: promote(self.outline.backbone.velocity(x, sigma, condition)),
            [x, sigma, *condition.tensors.values()],
        )

    def decode(self) -> Cost:
        """Return the cost of turning latents into images."""
        x, _, condition = self._inputs()
        return self._measured(lambda: self.outline.backbone.decode(x, condition), [x])

    def update(self) -> Cost:
        """Return the cost of a velocity with its backward, recomputation included.

        Gradients are there already, as in every micro-batch but the first.
        """
        x, sigma, condition = self._inputs()
        parameters = list(self.outline.backbone.trainable().values())
        gradients = [torch.empty_like(parameter) for parameter in parameters]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        outside = [x, sigma, *condition.tensors.values(), *gradients, *_still(self.outline)]
        try:
            with fused_attention(), LiveBytes(outside) as live:
                loss = promote(self.outline.backbone.velocity(x, sigma, condition)).square().mean()
                saved = live.now
                loss.backward()  # type: ignore[no-untyped-call]
        finally:
            for parameter in parameters:
                parameter.grad = None
        return Cost(live.flops, live.peak, saved)

    def _measured(self, work: Callable[[], Tensor], inputs: list[Tensor]) -> Cost:
        outside = [*inputs, *_still(self.outline)]
        with torch.no_grad(), fused_attention(), LiveBytes(outside) as live:
            work()
        return Cost(live.flops, live.peak)

    def _inputs(self) -> tuple[Tensor, Tensor, Condition]:
        shape = self.outline.backbone.latent_shape(self.height, self.width)
        x = torch.empty(self.rows, *shape, device="meta")
        sigma = torch.empty(self.rows, device="meta")
        return x, sigma, self.outline.condition(self.rows, self.height, self.width)


def traced(work: Callable[[], Cost]) -> Cost:
    """Do a piece of work.

    Raises:
        ComponentError: The outline can't do what a backbone must.
    """
    try:
        return work()
    except (RuntimeError, NotImplementedError, TypeError, AttributeError) as error:
        reason = str(error).partition("\n")[0]
        raise ComponentError(
            f"backbone: its outline raised {type(error).__name__}: {reason}"
        ) from error


def _still(outline: Outline) -> Iterator[Tensor]:
    """Yield what lies still: weights and buffers."""
    for part in outline.parts.values():
        yield from part.module.parameters()
        yield from part.module.buffers()
    yield from outline.backbone.trainable().values()
