"""Rewards at work while the next images are sampled: a thread each, scores in the images' order.

A reward is called from its own thread only, so never twice at a time, and different rewards may
work side by side. What comes back depends on no timing: scores are kept by micro-batch, and where
several calls fail, the error of the first micro-batch is the one that is raised.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import NamedTuple

import torch
from torch import Tensor

from guardcore.clock import Clock
from guardcore.components import Reward
from guardcore.prompt import Prompt
from guardcore.scoring import score

IN_FLIGHT = 4
"""Micro-batches that may wait for a reward; more would only fill the host's memory."""

PATIENCE = 0.5
"""Seconds that a second Ctrl-C leaves a reward that is at work."""


class Scores(NamedTuple):
    """A micro-batch's scores ``[B]``, and how long the reward took."""

    values: Tensor
    seconds: float


class _Job:
    """One call of a reward."""

    def __init__(self, images: Tensor, prompts: Sequence[Prompt]) -> None:
        self.future: Future[Scores] = Future()
        self._images: Tensor | None = images
        self._prompts = prompts

    def run(self, name: str, reward: Reward) -> None:
        images, self._images = self._images, None
        if images is None or not self.future.set_running_or_notify_cancel():
            return
        start = time.perf_counter()
        try:
            scores = Scores(score(name, reward, images, self._prompts), time.perf_counter() - start)
        except BaseException as error:
            self.future.set_exception(error)
        else:
            del images  # before anybody is told
            self.future.set_result(scores)


def _on_gpu() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


class Judge:
    """One reward and the thread that calls it.

    The thread is a daemon: a reward that hangs does not keep the process from ending.
    """

    def __init__(self, name: str, reward: Reward) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._gpu = torch.cuda.current_device() if _on_gpu() else None
        self._thread = Thread(target=self._work, args=(name, reward), name=name, daemon=True)
        self._thread.start()

    def submit(self, images: Tensor, prompts: Sequence[Prompt]) -> Future[Scores]:
        """Have images ``[B, 3, H, W]`` scored after those submitted before them."""
        job = _Job(images, prompts)
        self._jobs.put(job)
        return job.future

    def stop(self) -> None:
        """Take no further calls."""
        self._jobs.put(None)

    def join(self, timeout: float | None) -> None:
        """Wait until the last call is over, or ``timeout`` seconds have passed."""
        self._thread.join(timeout)

    def _work(self, name: str, reward: Reward) -> None:
        if not torch.cuda.is_available():
            # For this thread alone: the cores are the sampling's, and a second full team of OpenMP
            # threads keeps both teams from spinning, which costs an iteration more than half.
            torch.set_num_threads(1)
        if self._gpu is not None:  # the default is a thread's own
            torch.cuda.set_device(self._gpu)
        while (job := self._jobs.get()) is not None:
            job.run(name, reward)
            del job


class Judges:
    """A run's rewards at work; on leaving, every call is over before the rewards are closed."""

    def __init__(self, rewards: Mapping[str, Reward]) -> None:
        torch.get_num_threads()  # fixes this thread's number before a judge sets its own
        self._judges = {name: Judge(name, reward) for name, reward in rewards.items()}

    def __enter__(self) -> Judges:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        hurry = kind is not None and not issubclass(kind, Exception)
        for judge in self._judges.values():
            judge.stop()
        for judge in self._judges.values():
            judge.join(PATIENCE if hurry else None)

    def session(self, names: Sequence[str], clock: Clock) -> Session:
        """Return what takes the images of one phase to the rewards ``names``."""
        return Session({name: self._judges[name] for name in names}, clock)


class Session:
    """The micro-batches of one rollout or evaluation; on leaving, open calls are called off."""

    def __init__(self, judges: Mapping[str, Judge], clock: Clock) -> None:
        self._judges = judges
        self._clock = clock
        self._open: list[dict[str, Future[Scores]]] = []
        self._done: list[dict[str, Scores]] = []

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for calls in self._open:
            for future in calls.values():
                future.cancel()

    def submit(self, images: Tensor, prompts: Sequence[Prompt]) -> None:
        """Have a micro-batch scored; wait where too many are under way.

        Raises:
            ComponentError: A reward broke its contract on an earlier micro-batch.
        """
        self._collect(IN_FLIGHT - 1)
        self._open.append({name: j.submit(images, prompts) for name, j in self._judges.items()})

    def collect(self) -> dict[str, Tensor]:
        """Wait for the rest; return every reward as ``[N]``, in the order of submission.

        Raises:
            ComponentError: A reward raised, or returned another shape or a non-finite number.
        """
        self._collect(0)
        for name in self._judges:
            seconds = sum((scores[name].seconds for scores in self._done), 0.0)
            self._clock.beside(f"reward/{name}", seconds)
        none = torch.empty(0, dtype=torch.float64)
        return {
            name: torch.cat([none, *(s[name].values for s in self._done)]) for name in self._judges
        }

    def _collect(self, left: int) -> None:
        """Wait until at most ``left`` micro-batches are open."""
        with self._clock("waiting"):
            while len(self._open) > left:
                calls = self._open[0]
                self._done.append({name: future.result() for name, future in calls.items()})
                del self._open[0]
