"""What a backbone needs beside the latents, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Condition:
    """Prompt embeddings and whatever else a backbone's velocity depends on.

    Attributes:
        tensors: Named tensors, each ``[B, …]``.
        height: Image height in pixels.
        width: Image width in pixels.
    """

    tensors: Mapping[str, Tensor]
    height: int
    width: int

    def __len__(self) -> int:
        return next((len(tensor) for tensor in self.tensors.values()), 0)

    def rows(self, index: Tensor | Sequence[int] | slice) -> Condition:
        """Return the rows at ``index`` (a slice, a list of ints or a LongTensor)."""
        return self._each({name: tensor[index] for name, tensor in self.tensors.items()})

    def to(self, device: torch.device | str) -> Condition:
        """Return the condition on another device."""
        return self._each({name: tensor.to(device) for name, tensor in self.tensors.items()})

    @staticmethod
    def cat(conditions: Sequence[Condition]) -> Condition:
        """Join conditions of one image size row-wise.

        Raises:
            ValueError: The list is empty, or sizes or tensor names differ.
        """
        import torch

        if not conditions:
            raise ValueError("Condition.cat received an empty list")
        first = conditions[0]
        if len(conditions) == 1:
            return first
        for other in conditions[1:]:
            if (other.height, other.width) != (first.height, first.width):
                raise ValueError("Condition.cat received different image sizes")
            if set(other.tensors) != set(first.tensors):
                raise ValueError(
                    f"Condition.cat received tensors {sorted(first.tensors)} "
                    f"and {sorted(other.tensors)}"
                )
        names = first.tensors
        return first._each({n: torch.cat([c.tensors[n] for c in conditions]) for n in names})

    def _each(self, tensors: Mapping[str, Tensor]) -> Condition:
        return Condition(tensors, self.height, self.width)
