"""What of a transformer is trained: ``lora`` beside frozen weights, or ``full``, every weight."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import Parameter

from guardcore import GuardcoreError


class Tuning(Protocol):
    """One way of training a transformer."""

    @property
    def network(self) -> Any:
        """The module that a velocity comes from now."""

    def trainable(self) -> Mapping[str, Parameter]:
        """Return the float32 parameters that are trained."""

    def reference(self) -> AbstractContextManager[None]:
        """Inside, ``network`` is that of the weights before any training."""

    def save(self, directory: Path) -> None:
        """Write what is trained in diffusers' own format."""

    def load(self, directory: Path) -> None:
        """Read what ``save`` wrote."""


def check_fit(path: Path, state: Mapping[str, Tensor], into: Mapping[str, Parameter]) -> None:
    """Compare names and shapes.

    Raises:
        GuardcoreError: The first difference and how many there are.
    """
    problems = [f"no {name}" for name in into.keys() - state.keys()]
    problems += [f"unexpected {name}" for name in state.keys() - into.keys()]
    problems += [
        f"{name} is {list(state[name].shape)}, not {list(into[name].shape)}"
        for name in into.keys() & state.keys()
        if state[name].shape != into[name].shape
    ]
    if problems:
        raise GuardcoreError(
            f"{path} does not fit this backbone: {min(problems)} ({len(problems)} differences); "
            "model and backbone.lora must be those it was trained with"
        )


@torch.no_grad()
def copy_into(parameters: Mapping[str, Parameter], state: Mapping[str, Tensor]) -> None:
    """Overwrite parameters in place, each from the tensor of its name."""
    for name, parameter in parameters.items():
        parameter.copy_(state[name])
