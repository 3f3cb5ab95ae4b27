"""Ranks as an advantage: ``A_i = scale · mean_j sign(R_i − R_j)`` over the images j of i's group.

``R`` is the weighted sum of the rewards. The best of a group without ties has nearly ``scale``, the
worst nearly ``−scale``, however far apart their rewards are, so an outlier cannot take over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from guardcore import Advantage, Options, Registrar, hookimpl
from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor


class YourNameOptions(Options):
    """How large an advantage can be."""

    scale: float = Field(1.0, gt=0, description="bound on the advantage's absolute value")


def your_name_advantage(options: YourNameOptions) -> Advantage:
    """The share of its group that an image beats, minus the share that beats it."""

    def advantage(
        rewards: Mapping[str, Tensor], groups: Tensor, weights: Mapping[str, float]
    ) -> Tensor:
        import torch

        total = torch.stack([weights[name] * values for name, values in rewards.items()]).sum(0)
        together = groups[:, None] == groups  # [N, N]
        beats = (total[:, None] - total).sign() * together
        return options.scale * beats.sum(1) / together.sum(1)

    return advantage


@hookimpl
def guardcore_register_advantages(register: Registrar) -> None:
    """Register the one advantage."""
    register("your-name", your_name_advantage)
