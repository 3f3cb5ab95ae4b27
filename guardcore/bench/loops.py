"""Our loop and the bare one over one model, timed from the same weights.

A group whose images all score the same has no advantage, and ``update`` leaves out a micro-batch
of such groups. How many there are is luck, and the two loops draw different noise: here a zero
becomes a one, and nothing is refilled, so that both do all of the work every time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from guardcore.batch_size import BatchSize
from guardcore.bench import machine
from guardcore.bench.floor import bare_iteration
from guardcore.clock import Clock
from guardcore.components import Advantage
from guardcore.config import Rollout
from guardcore.iteration import iterate
from guardcore.learner import Learner, load_weights
from guardcore.plan import draw_prompts
from guardcore.run import Run
from guardcore.trained_steps import TrainedSteps

ITERATION = 2
"""Always the same one: its texts are encoded once, and every pair has the same work to do."""


@dataclass(frozen=True)
class Seconds:
    """What one iteration took: by the clock on the wall, and of the processors' work."""

    wall: float
    cpu: float


class Loops:
    """Both loops; each has an optimiser of its own, and starts from the base's weights."""

    def __init__(self, run: Run) -> None:
        rollout = run.config.rollout.model_copy(update={"refill": 0})
        config = run.config.model_copy(update={"rollout": rollout})
        self.run = replace(run, config=config, advantage=without_zeros(run.advantage))
        self._parameters = run.backbone.trainable()
        self._weights = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._learner = Learner(self._parameters, run.config.train)
        self._optimizer = torch.optim.AdamW(
            self._parameters.values(), lr=run.config.train.learning_rate
        )
        self.device = next(iter(self._parameters.values())).device

    def ours(self, clock: Clock | None = None, rollout: Rollout | None = None) -> Seconds:
        """Time ``iterate``, with another clock or other settings of the rollout."""
        run = self.run.timed_by(clock or Clock())
        if rollout is not None:
            config = run.config.model_copy(update={"rollout": rollout})
            steps = resized(run.steps, rollout.num_inference_steps - 1, config.seed)
            size = BatchSize(rollout.batch_size)
            run = replace(run, config=config, batch_size=size, steps=steps)
        return self._timed(lambda: iterate(run, self._learner, ITERATION))

    def floor(self) -> Seconds:
        """Time the bare loop over the same prompts and steps."""
        run, seed, rollout = self.run, self.run.config.seed, self.run.config.rollout
        chosen = draw_prompts(len(run.train_prompts), rollout.groups, seed, ITERATION)
        prompts = [run.train_prompts[c] for c in chosen for _ in range(rollout.group_size)]
        trained = run.steps.at(seed, ITERATION)
        return self._timed(lambda: bare_iteration(run, self._optimizer, prompts, trained))

    def go_back(self) -> None:
        """Take the base's weights again, without what an iteration that failed has left."""
        load_weights(self._parameters, self._weights)
        for parameter in self._parameters.values():
            parameter.grad = None

    def _timed(self, work: Callable[[], object]) -> Seconds:
        self.go_back()
        torch.manual_seed(self.run.config.seed)
        machine.wait(self.device)
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        machine.wait(self.device)
        return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def resized(window: TrainedSteps, steps: int, seed: int) -> TrainedSteps:
    """Return a window over another schedule's ``steps`` that trains as many as before.

    All where all were trained, and otherwise the first ones; of fewer steps all at most.
    """
    number = len(window.at(seed, ITERATION))
    if steps == window.steps:
        return window
    number = steps if number == window.steps else min(number, steps)
    return TrainedSteps(window.name, lambda *_: range(number), steps, range(number))


def without_zeros(advantage: Advantage) -> Advantage:
    """Return an advantage that is 1 wherever ``advantage`` is 0."""

    def filled(
        rewards: Mapping[str, Tensor], groups: Tensor, weights: Mapping[str, float]
    ) -> Tensor:
        values = advantage(rewards, groups, weights)
        return values.masked_fill(values == 0, 1)

    return filled


class WaitingClock(Clock):
    """Has an accelerator finish before a phase begins and before it ends."""

    def __init__(self, wait: Callable[[], None]) -> None:
        super().__init__()
        self._wait = wait

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Count the time inside towards ``phase``."""
        self._wait()
        with super().__call__(phase):
            yield
            self._wait()
