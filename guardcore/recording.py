"""An iteration as its updates saw it, on disk: what ``guardcore replay`` scores again.

``recordings/iteration-NNNNNN`` has the form of a checkpoint: whole or not there. It holds a file a
micro-batch, the advantages and rewards, and the trained weights before each update and after the
last. Left out: the images, which no update looks at, and the optimiser's state.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guardcore import checkpoint
from guardcore.condition import Condition
from guardcore.errors import GuardcoreError
from guardcore.prompt import Prompt
from guardcore.schedule import Step
from guardcore.trajectory import Offloaded, TakenStep, Trajectory
from guardcore.transition import Transition

Tensors = Mapping[str, Tensor]
_CONDITION, _REWARD = "condition.", "reward."


def recorded_iterations(iterations: int, number: int) -> set[int]:
    """Return ``number`` of the iterations 1 to ``iterations``, evenly spread, the last included."""
    number = min(number, iterations)
    return {iterations * place // number for place in range(1, number + 1)}


class Tape:
    """Takes down one iteration while it goes on; without a directory, nothing.

    Args:
        directory: Where recordings lie, or None.
        iteration: Its number.
    """

    def __init__(self, directory: Path | None, iteration: int) -> None:
        self._directory = directory
        self._iteration = iteration
        self._updates: list[list[int]] = []
        self._weights: list[Tensors] = []

    def before_update(self, batches: Sequence[int], parameters: Tensors) -> None:
        """Take down which micro-batches an update will see, and the weights before it."""
        if self._directory is not None:
            self._updates.append(list(batches))
            self._weights.append(_copies(parameters))

    def write(
        self,
        parameters: Tensors,
        trajectories: Sequence[Trajectory],
        prompts: Sequence[Prompt],
        rewards: Tensors,
        advantages: Tensor,
    ) -> None:
        """Write it all, with the weights after the last update.

        Raises:
            CheckpointError: It could not be written.
        """
        if self._directory is None:
            return
        kept = [trajectory.offload() for trajectory in trajectories]
        facts = {
            "updates": self._updates,
            "prompts": [{"text": p.text, "metadata": _plain(p.metadata)} for p in prompts],
            "batches": [_facts(trajectory) for trajectory in kept],
        }
        weights = [*self._weights, _copies(parameters)]
        scores = {f"{_REWARD}{name}": values for name, values in rewards.items()}
        files = _files(kept, weights, {"advantages": advantages, **scores})
        checkpoint.write(self._directory, self._iteration, files, facts)


@dataclass(frozen=True)
class Recording:
    """One recorded iteration on disk; each part is read when it is asked for.

    Attributes:
        stored: Its directory.
    """

    stored: checkpoint.Checkpoint

    @property
    def iteration(self) -> int:
        """The iteration's number."""
        return self.stored.iteration

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What is written down in words: updates, prompts, the micro-batches' shapes."""
        return self.stored.counters()

    @property
    def updates(self) -> list[list[int]]:
        """The micro-batches that each update saw."""
        updates: list[list[int]] = self.facts["updates"]
        return updates

    @property
    def prompts(self) -> list[Prompt]:
        """One a sample."""
        return [Prompt(each["text"], each["metadata"]) for each in self.facts["prompts"]]

    @property
    def advantages(self) -> Tensor:
        """``[N, S]`` over all samples and the S trained steps."""
        return self.stored.tensors("rollout")["advantages"]

    @property
    def rewards(self) -> dict[str, Tensor]:
        """``[N]`` each, by name."""
        found = self.stored.tensors("rollout").items()
        return {n.removeprefix(_REWARD): t for n, t in found if n.startswith(_REWARD)}

    def weights(self, update: int) -> dict[str, Tensor]:
        """Return what is trained as it was before ``update``; one beyond the last: after it."""
        return self.stored.tensors(f"weights-{update}")

    def trajectory(self, batch: int, device: torch.device) -> Trajectory:
        """Return a micro-batch on ``device``, equal to the last bit."""
        tensors, facts = self.stored.tensors(f"batch-{batch:04d}"), self.facts["batches"][batch]
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
            device=device,
        ).onload()


def find_recording(directory: Path, iteration: int | None = None) -> Recording:
    """Return what lies in ``directory`` of an iteration, the last by default.

    Raises:
        GuardcoreError: There is none, with the way to make one or those that there are.
    """
    found = {stored.iteration: stored for stored in checkpoint.find(directory)}
    if not found:
        raise GuardcoreError(
            f"{directory.parent} holds no recordings; make some with: guardcore train --record"
        )
    wanted = max(found) if iteration is None else iteration
    if wanted not in found:
        there = ", ".join(str(each) for each in found)
        raise GuardcoreError(
            f"{directory.parent} holds no recording of iteration {wanted}; there are: {there}"
        )
    return Recording(found[wanted])


def _files(
    kept: Sequence[Offloaded], weights: Sequence[Tensors], rollout: Tensors
) -> Iterator[tuple[str, Tensors]]:
    yield "rollout", _alone(rollout)
    for number, trajectory in enumerate(kept):
        yield f"batch-{number:04d}", _alone(_tensors(trajectory))
    for number, parameters in enumerate(weights, 1):
        yield f"weights-{number}", parameters


def _tensors(kept: Offloaded) -> dict[str, Tensor]:
    """Return a micro-batch's tensors, each once, under the names that ``_facts`` refers to."""
    tensors = {f"{_CONDITION}{name}": tensor for name, tensor in kept.condition.tensors.items()}
    tensors["places"] = kept.places
    for names, taken in zip(_names(kept.steps), kept.steps, strict=True):
        tensors |= dict(zip(names.values(), _fields(taken).values(), strict=True))
    return tensors


def _facts(kept: Offloaded) -> dict[str, Any]:
    steps = [
        {
            "sigma_max": taken.step.sigma_max,
            "precision": str(taken.precision).removeprefix("torch."),
            "tensors": names,
        }
        for names, taken in zip(_names(kept.steps), kept.steps, strict=True)
    ]
    return {
        "samples": [kept.samples.start, kept.samples.stop],
        "height": kept.condition.height,
        "width": kept.condition.width,
        "indices": list(kept.indices),
        "steps": steps,
    }


def _names(steps: Sequence[TakenStep]) -> list[dict[str, str]]:
    """Name each step's tensors; one that an earlier step has, as a rule its ``x_next``, by that."""
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


def _taken(facts: Mapping[str, Any], tensors: Tensors) -> TakenStep:
    field = {field: tensors[name] for field, name in facts["tensors"].items()}
    return TakenStep(
        step=Step(field["index"], field["sigma"], field["sigma_next"], facts["sigma_max"]),
        x=field["x"],
        x_next=field["x_next"],
        old=Transition(field["mean"], field["std"], field["velocity_gain"]),
        precision=getattr(torch, facts["precision"]),
    )


def _alone(tensors: Tensors) -> dict[str, Tensor]:
    """Return copies that share no memory, as safetensors wants them."""
    return {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def _copies(parameters: Tensors) -> dict[str, Tensor]:
    """Return copies in the host's memory, which later updates leave alone."""
    return {n: p.detach().to("cpu", copy=True).contiguous() for n, p in parameters.items()}


def _plain(metadata: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(dict(metadata), default=str))
