"""Gradients that pass through float16 without vanishing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter


def rescale_gradients(network: Any, parameters: Iterable[Parameter]) -> None:
    """Send gradients through a float16 network at unit size, and take that back at its end.

    The loss is a mean over latents, samples and steps, so the gradient of a single velocity is
    about 1e-10, where float16's smallest number is 6e-8: it would be 0. Each backward pass is
    multiplied at the network's output by the power of two that brings the largest entry to
    [1/2, 1), and divided by it where it reaches a parameter (float32). Powers of two round
    nothing, and no scale has to be chosen, tuned or saved.

    The output becomes float32, which the gradient needs to arrive; its numbers are the same.
    """
    scale = _Scale()
    network.register_forward_hook(
        lambda module, args, output: tuple(_Rescale.apply(t, scale) for t in output)  # type: ignore[no-untyped-call]
    )
    for parameter in parameters:
        parameter.register_hook(scale.undo)  # type: ignore[no-untyped-call]


class _Scale:
    """The factor of the backward pass that is under way."""

    def __init__(self) -> None:
        self.factor = torch.ones(())

    def undo(self, gradient: Tensor) -> Tensor:
        return gradient / self.factor


class _Rescale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: _Scale) -> Tensor:
        ctx.scale, ctx.dtype = scale, x.dtype
        return x.float()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        largest = gradient.abs().max()
        _, exponent = torch.frexp(largest)  # 0 has exponent 0
        ctx.scale.factor = torch.ldexp(torch.ones_like(largest), -exponent.clamp(min=-100))
        return (gradient * ctx.scale.factor).to(ctx.dtype), None
