"""The trained weights with everything that goes with them: AdamW, warm-up, EMA, counters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from guardcore.config import Train
from guardcore.errors import GuardcoreError
from guardcore.learning_rate import learning_rate
from guardcore.sharding import apart, as_in, clip_grad_norm, is_shared_out, whole

State = dict[str, dict[str, Tensor]]
"""Tensors by file and name, as a checkpoint holds them."""


class Learner:
    """Owns the optimiser of a backbone's trainable parameters."""

    def __init__(self, parameters: Mapping[str, Parameter], config: Train) -> None:
        if not parameters:
            raise GuardcoreError("backbone: it has nothing to train")
        self.parameters = dict(parameters)
        self.config = config
        self.updates = 0
        self.skipped = 0
        self.skipped_in_a_row = 0
        self._optimizer = torch.optim.AdamW(
            [{"params": alike} for alike in apart(self.parameters.values())],
            lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            eps=config.adam_epsilon,
            weight_decay=config.weight_decay,
        )
        self._ema = _copies(self.parameters) if config.ema_decay is not None else None

    def step(self, loss: float) -> float | None:
        """Apply the accumulated gradients; return their norm, or None if they are not finite.

        A non-finite loss or gradient skips the update and is counted.
        """
        norm = clip_grad_norm(self.parameters.values(), self.config.max_grad_norm)
        grad_norm = float(norm)
        finite = math.isfinite(loss) and math.isfinite(grad_norm)
        if finite:
            for group in self._optimizer.param_groups:
                group["lr"] = learning_rate(self.config, self.updates)
            self._optimizer.step()
            self.updates += 1
            self._average()
        self._optimizer.zero_grad(set_to_none=True)
        self.skipped += not finite
        self.skipped_in_a_row = 0 if finite else self.skipped_in_a_row + 1
        return grad_norm if finite else None

    @property
    def learning_rate(self) -> float:
        """The last update's."""
        return float(self._optimizer.param_groups[0]["lr"])

    @property
    def exhausted(self) -> bool:
        """Whether too many updates in a row were skipped."""
        return self.skipped_in_a_row >= self.config.max_skipped_updates

    def sums(self) -> list[float]:
        """Return a number for each parameter that is whole, by which processes can compare."""
        every = (p for p in self.parameters.values() if not is_shared_out(p))
        return [float(parameter.detach().double().sum()) for parameter in every]

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the parameters are their moving averages, if there are any."""
        if self._ema is None:
            yield
            return
        trained = _copies(self.parameters)
        _assign(self.parameters, self._ema)
        try:
            yield
        finally:
            _assign(self.parameters, trained)

    def state(self) -> tuple[State, dict[str, int]]:
        """Return tensors by file, each whole, and the counters; every process has to ask."""
        state = {**self._tensors(), "weights": _copies(self.parameters)}
        return {file: _whole(tensors) for file, tensors in state.items()}, self._counters()

    def snapshot(self) -> tuple[State, dict[str, int]]:
        """Return a copy of the state in the host's memory, which later updates leave alone."""
        state = {
            file: {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
            for file, tensors in self._tensors().items()
        }
        return state, self._counters()

    def _tensors(self) -> State:
        """Return the tensors themselves, by file."""
        moments = {
            f"{name}.{key}": value.contiguous()
            for name, parameter in self.parameters.items()
            for key, value in self._optimizer.state.get(parameter, {}).items()
        }
        averages = {} if self._ema is None else {"ema": self._ema}
        return {"weights": dict(self.parameters), "optimizer": moments, **averages}

    def _counters(self) -> dict[str, int]:
        return {
            "updates": self.updates,
            "skipped": self.skipped,
            "skipped_in_a_row": self.skipped_in_a_row,
        }

    def load(self, state: State, counters: Mapping[str, Any]) -> None:
        """Go back to what ``state`` or ``snapshot`` returned; accumulated gradients are dropped.

        Raises:
            GuardcoreError: The checkpoint's parameters are not this model's.
        """
        weights = state["weights"]
        check_same_parameters(self.parameters, weights)
        _assign(self.parameters, weights)
        if self._ema is not None and "ema" in state:
            _assign(self._ema, state["ema"])
        self._optimizer.zero_grad(set_to_none=True)
        self._optimizer.state.clear()
        for name, parameter in self.parameters.items():
            moments = {
                key.removeprefix(f"{name}."): value
                for key, value in state["optimizer"].items()
                if key.rpartition(".")[0] == name
            }
            if moments:
                self._optimizer.state[parameter] = {
                    key: as_in(value.to(parameter.device, copy=True), parameter)
                    if value.ndim
                    else value.to("cpu", copy=True)
                    for key, value in moments.items()
                }
        self.updates, self.skipped = counters["updates"], counters["skipped"]
        self.skipped_in_a_row = counters["skipped_in_a_row"]

    def _average(self) -> None:
        decay = self.config.ema_decay
        if self._ema is None or decay is None or self.updates % self.config.ema_every:
            return
        for name, parameter in self.parameters.items():
            self._ema[name].lerp_(parameter.detach(), 1 - decay)


def load_weights(parameters: Mapping[str, Parameter], weights: Mapping[str, Tensor]) -> None:
    """Copy a checkpoint's weights into a model's parameters.

    Raises:
        GuardcoreError: The names or shapes differ.
    """
    check_same_parameters(parameters, weights)
    _assign(parameters, weights)


def check_same_parameters(
    parameters: Mapping[str, Parameter], weights: Mapping[str, Tensor]
) -> None:
    """Compare names and shapes.

    Raises:
        GuardcoreError: They differ; the first difference is named.
    """
    for name in sorted({*parameters, *weights}):
        ours, theirs = parameters.get(name), weights.get(name)
        if ours is None or theirs is None or ours.shape != theirs.shape:
            shapes = [None if t is None else list(t.shape) for t in (ours, theirs)]
            raise GuardcoreError(
                f"the checkpoint belongs to another model: {name!r} is {shapes[0]} in the model "
                f"and {shapes[1]} in the checkpoint"
            )


def _whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring tensors together one by one, those that were shared out in the host's memory."""
    return {n: whole(t).cpu() if is_shared_out(t) else t for n, t in tensors.items()}


def _copies(parameters: Mapping[str, Parameter]) -> dict[str, Tensor]:
    return {
        name: parameter.detach().clone(memory_format=torch.contiguous_format)
        for name, parameter in parameters.items()
    }


@torch.no_grad()
def _assign(targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, target in targets.items():
        target.copy_(as_in(values[name], target))
