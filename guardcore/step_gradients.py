"""The gradient of each denoising step by itself: which steps an update listens to."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import Parameter

from guardcore.sharding import is_shared_out, own, whole


class StepGradients:
    """Measures the steps' gradients one after the other, and gives back their sum.

    No backward pass is added; the sum waits in the host's memory, once the size of what is
    trained. For whole steps one after the other: all micro-batches of a step, then ``close``.

    Attributes:
        norms: By step, the norm of its gradient before ``max_grad_norm``.
    """

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        self._parameters = list(parameters)
        self._sums: list[Tensor | None] = [None] * len(self._parameters)
        self.norms: dict[int, float] = {}

    def close(self, step: int) -> None:
        """Take what was accumulated since the last call as the gradient of ``step``."""
        found = [p.grad for p in self._parameters if p.grad is not None]
        self.norms[step] = total_norm(found)
        for place, parameter in enumerate(self._parameters):
            if parameter.grad is not None:
                before, part = self._sums[place], own(parameter.grad).cpu()
                self._sums[place] = part if before is None else before.add_(part)
                parameter.grad = None

    def restore(self) -> None:
        """Put the sum of all steps where the optimiser looks for it."""
        for parameter, total in zip(self._parameters, self._sums, strict=True):
            if total is not None and is_shared_out(parameter):
                parameter.grad = torch.zeros_like(parameter)
                own(parameter.grad).copy_(total)
            else:
                parameter.grad = None if total is None else total.to(parameter.device)


def total_norm(gradients: Iterable[Tensor]) -> float:
    """Return the norm of several gradients together, in float32."""
    norms = [whole(torch.linalg.vector_norm(gradient.float())) for gradient in gradients]
    return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
