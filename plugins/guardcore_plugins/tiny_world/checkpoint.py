"""Resumable training state in safetensors: modules, optimiser, averaged weights, step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def average(into: dict[str, Tensor], module: nn.Module, decay: float) -> None:
    """Exponential moving average of a module's state, in place; empty means "start here"."""
    for name, value in module.state_dict().items():
        if name in into and value.is_floating_point():
            into[name].lerp_(value, 1 - decay)
        else:
            into[name] = value.detach().clone()


def _moments(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{index}.{key}": state[key]
        for index, state in optimiser.state_dict()["state"].items()
        for key in MOMENTS
    }


def _restore_moments(optimiser: torch.optim.Optimizer, moments: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in moments.items():
        index, key = name.split(".")
        state.setdefault(int(index), {})[key] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def save(
    path: Path,
    step: int,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    averaged: Mapping[str, Tensor],
) -> None:
    """Write one file, aside first."""
    parts = {"module": module.state_dict(), "moment": _moments(optimiser), "average": averaged}
    tensors = {
        f"{part}/{name}": value.detach().clone().contiguous()
        for part, values in parts.items()
        for name, value in values.items()
    }
    aside = path.with_suffix(".new")
    save_file({**tensors, "step": torch.tensor(step)}, aside)
    aside.replace(path)


def load(
    path: Path,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    averaged: dict[str, Tensor],
) -> int:
    """Restore in place what `save` wrote; returns the step, 0 when there is no file."""
    if not path.exists():
        return 0
    tensors = load_file(path)
    parts: dict[str, dict[str, Tensor]] = {"module": {}, "moment": {}, "average": {}}
    step = int(tensors.pop("step"))
    for key, value in tensors.items():
        part, name = key.split("/", 1)
        parts[part][name] = value
    module.load_state_dict(parts["module"])
    _restore_moments(optimiser, parts["moment"])
    averaged.update(parts["average"])
    return step


def averaged(path: Path) -> dict[str, Tensor]:
    """Return the averaged weights that `save` wrote."""
    prefix = "average/"
    return {
        name.removeprefix(prefix): value
        for name, value in load_file(path).items()
        if name.startswith(prefix)
    }
