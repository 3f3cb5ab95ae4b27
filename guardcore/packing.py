"""A micro-batch of the rollout as flat tensors and plain words about them, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from guardcore.condition import Condition
from guardcore.schedule import Step
from guardcore.trajectory import Offloaded, TakenStep, Trajectory
from guardcore.transition import Transition

_CONDITION = "condition."


def facts_of(trajectory: Trajectory) -> dict[str, Any]:
    """Return what JSON can hold, with the names of each step's tensors."""
    names = _names(trajectory.steps)
    return {
        "samples": [trajectory.samples.start, trajectory.samples.stop],
        "height": trajectory.condition.height,
        "width": trajectory.condition.width,
        "indices": list(trajectory.indices),
        "steps": [
            {
                "sigma_max": taken.step.sigma_max,
                "precision": str(taken.precision).removeprefix("torch."),
                "tensors": named,
            }
            for named, taken in zip(names, trajectory.steps, strict=True)
        ],
    }


def tensors_of(trajectory: Trajectory) -> dict[str, Tensor]:
    """Return the tensors on the CPU, each once, under the names in ``facts_of``."""
    kept = trajectory.offload()
    tensors = {f"{_CONDITION}{name}": tensor for name, tensor in kept.condition.tensors.items()}
    tensors["places"] = kept.places
    for named, taken in zip(_names(kept.steps), kept.steps, strict=True):
        tensors |= dict(zip(named.values(), _fields(taken).values(), strict=True))
    return tensors


def unpacked(facts: Mapping[str, Any], tensors: Mapping[str, Tensor], device: Any) -> Offloaded:
    """Return the micro-batch in the host's memory; ``onload`` brings it to ``device``."""
    condition = {
        name.removeprefix(_CONDITION): tensor
        for name, tensor in tensors.items()
        if name.startswith(_CONDITION)
    }
    return Offloaded(
        samples=range(*facts["samples"]),
        condition=Condition(condition, facts["height"], facts["width"]),
        steps=[_taken(step, tensors) for step in facts["steps"]],
        indices=facts["indices"],
        places=tensors["places"],
        device=torch.device(device),
    )


def _names(steps: Sequence[TakenStep]) -> list[dict[str, str]]:
    """Name each step's tensors; one that an earlier step has keeps that name.

    As a rule that is ``x``, the step before's ``x_next``.
    """
    names: dict[int, str] = {}
    return [
        {
            field: names.setdefault(id(tensor), f"{place}.{field}")
            for field, tensor in _fields(taken).items()
        }
        for place, taken in enumerate(steps)
    ]


def _fields(taken: TakenStep) -> dict[str, Tensor]:
    step, old = taken.step, taken.old
    return {
        "index": step.index,
        "sigma": step.sigma,
        "sigma_next": step.sigma_next,
        "x": taken.x,
        "x_next": taken.x_next,
        "mean": old.mean,
        "std": old.std,
        "velocity_gain": old.velocity_gain,
    }


def _taken(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> TakenStep:
    field = {field: tensors[name] for field, name in facts["tensors"].items()}
    return TakenStep(
        step=Step(field["index"], field["sigma"], field["sigma_next"], facts["sigma_max"]),
        x=field["x"],
        x_next=field["x_next"],
        old=Transition(field["mean"], field["std"], field["velocity_gain"]),
        precision=getattr(torch, facts["precision"]),
    )
