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
from guardcore.calibration import Calibrator
from guardcore.errors import GuardcoreError
from guardcore.packing import facts_of, tensors_of, unpacked
from guardcore.prompt import Prompt
from guardcore.sampling import Sampled
from guardcore.trajectory import Trajectory
from guardcore.weighing import Weighed

Tensors = Mapping[str, Tensor]
_REWARD = "reward."


def recorded_iterations(iterations: int, number: int) -> set[int]:
    """Return ``number`` of the iterations 1 to ``iterations``, evenly spread, the last included."""
    number = min(number, iterations)
    return {iterations * place // number for place in range(1, number + 1)}


class Tape:
    """Takes down one iteration while it goes on; without a directory, nothing.

    Args:
        directory: Where recordings lie, or None.
        iteration: Its number.
        calibrator: Holds the numbers that the run found for its own words.
    """

    def __init__(self, directory: Path | None, iteration: int, calibrator: Calibrator) -> None:
        self._directory = directory
        self._iteration = iteration
        self._calibrator = calibrator
        self._updates: list[list[int]] = []
        self._weights: list[Tensors] = []

    def before_update(self, batches: Sequence[int], parameters: Tensors) -> None:
        """Take down which micro-batches an update will see, and the weights before it."""
        if self._directory is not None:
            self._updates.append(list(batches))
            self._weights.append(_copies(parameters))

    def write(self, parameters: Tensors, sampled: Sampled, weighed: Weighed) -> None:
        """Write it all, with the weights after the last update.

        Raises:
            CheckpointError: It could not be written.
        """
        if self._directory is None:
            return
        scores = {f"{_REWARD}{name}": values for name, values in sampled.rewards.items()}
        weights_of = {"advantages": weighed.advantages, "counted": weighed.counted}
        weights = [*self._weights, _copies(parameters)]
        files = _files(sampled.trajectories, weights, weights_of | scores)
        facts = {
            **self._calibrator.state()[1],
            "updates": self._updates,
            "prompts": [{"text": p.text, "metadata": _plain(p.metadata)} for p in sampled.prompts],
            "batches": [facts_of(trajectory) for trajectory in sampled.trajectories],
        }
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
    def weighed(self) -> Weighed:
        """What each sample weighs, at each trained step."""
        stored = self.stored.tensors("rollout")
        every = torch.ones(len(stored["advantages"]), dtype=torch.bool)
        return Weighed(stored["advantages"], stored.get("counted", every))

    @property
    def rewards(self) -> dict[str, Tensor]:
        """``[N]`` each, by name."""
        found = self.stored.tensors("rollout").items()
        return {n.removeprefix(_REWARD): t for n, t in found if n.startswith(_REWARD)}

    def weights(self, update: int) -> dict[str, Tensor]:
        """Return what is trained as it was before ``update``; one beyond the last: after it."""
        return self.stored.tensors(f"weights-{update}")

    def trajectory(self, batch: int, device: torch.device) -> Trajectory:
        """Return a micro-batch, which ``onload`` brings to ``device``."""
        tensors = self.stored.tensors(f"batch-{batch:04d}")
        return unpacked(self.facts["batches"][batch], tensors, device)


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
    trajectories: Sequence[Trajectory], weights: Sequence[Tensors], rollout: Tensors
) -> Iterator[tuple[str, Tensors]]:
    yield "rollout", _alone(rollout)
    for number, trajectory in enumerate(trajectories):
        yield f"batch-{number:04d}", _alone(tensors_of(trajectory))
    for number, parameters in enumerate(weights, 1):
        yield f"weights-{number}", parameters


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
