"""Noise levels of a run and one step of them.

``sigma`` in [0, 1] is the noise level (the paper's t): ``x = (1 - sigma)·x0 + sigma·noise``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Step:
    """One denoising step per row; rows may be at different steps.

    Attributes:
        index: ``[B]`` position in the schedule, 0 is the noisiest.
        sigma: ``[B]`` noise level before the step.
        sigma_next: ``[B]`` noise level after the step, below ``sigma``.
        sigma_max: Largest noise level of the schedule below 1 - 1e-6.
    """

    index: Tensor
    sigma: Tensor
    sigma_next: Tensor
    sigma_max: float

    @property
    def dt(self) -> Tensor:
        """``sigma - sigma_next``, ``[B]``, positive."""
        return self.sigma - self.sigma_next


@dataclass(frozen=True, eq=False)
class Schedule:
    """The noise levels of a trajectory, ``[T+1]``, falling, the last one 0.

    Raises:
        ValueError: The levels do not fall, or do not end in 0, or leave [0, 1].
    """

    sigmas: Tensor

    def __post_init__(self) -> None:
        sigmas = self.sigmas
        if sigmas.ndim != 1 or len(sigmas) < 2:
            raise ValueError(f"sigmas must be [T+1] with T >= 1, received {list(sigmas.shape)}")
        levels = sigmas.tolist()
        if levels[-1] != 0 or levels[0] > 1 or not all(a > b for a, b in pairwise(levels)):
            raise ValueError(f"sigmas must fall from at most 1 to exactly 0, received {levels}")
        below_one = [level for level in levels if level < 1 - 1e-6]
        object.__setattr__(self, "_sigma_max", max(below_one))

    def __len__(self) -> int:
        """Return the number of steps, T."""
        return len(self.sigmas) - 1

    @property
    def sigma_max(self) -> float:
        """The largest noise level below 1 - 1e-6: keeps ``1/(1 - sigma)`` finite at sigma = 1."""
        value: float = self._sigma_max  # type: ignore[attr-defined]
        return value

    def step(self, index: int | Tensor, batch: int) -> Step:
        """Return step ``index`` (an int for all rows, or a LongTensor ``[B]``) for ``batch`` rows.

        Raises:
            IndexError: An index outside ``0 … T-1``.
            ValueError: A tensor of indices that is not ``[batch]``.
        """
        import torch

        if isinstance(index, int):
            if not 0 <= index < len(self):
                raise IndexError(f"step {index} of a schedule of {len(self)} steps")
            index = torch.full((batch,), index, dtype=torch.long, device=self.sigmas.device)
        elif index.shape != (batch,):
            raise ValueError(f"index must be [{batch}], received {list(index.shape)}")
        elif index.device.type == "cpu" and bool(((index < 0) | (index >= len(self))).any()):
            raise IndexError(f"steps {index.tolist()} of a schedule of {len(self)} steps")
        index = index.to(self.sigmas.device)
        return Step(index, self.sigmas[index], self.sigmas[index + 1], self.sigma_max)
