"""Steps drawn at random as a window: ``size`` of the trainable steps, anywhere in the trajectory.

Every step is trained in ``size/steps`` of the iterations, and an iteration costs no more than
``size`` steps do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from guardcore import Options, Registrar, Window, hookimpl
from pydantic import Field

if TYPE_CHECKING:
    from torch import Generator


class YourNameOptions(Options):
    """How much of a trajectory is trained."""

    size: int = Field(
        3, ge=1, description="steps trained in an iteration; all, where there are fewer"
    )


def your_name_window(options: YourNameOptions) -> Window:
    """Draw ``size`` of the steps anew in each iteration, each as likely as another."""

    def window(iteration: int, steps: int, generator: Generator) -> Sequence[int]:
        import torch

        order = torch.randperm(steps, generator=generator)
        return sorted(order[: options.size].tolist())

    return window


@hookimpl
def guardcore_register_windows(register: Registrar) -> None:
    """Register the one window."""
    register("your-name", your_name_window)
