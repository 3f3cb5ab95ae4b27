"""One thread that builds a reward, scores what arrives, in batches, and closes it again.

The reward is only ever called by this thread, so it need not be thread-safe. Requests that arrive
within ``WAIT`` of each other and have images of one size are scored together.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from guardcore import Prompt, Reward

if TYPE_CHECKING:
    from torch import Tensor

WAIT = 0.005
"""Seconds that a batch with room waits for another request."""

Scorer = Callable[[Reward, "Tensor", Sequence[Prompt]], "Tensor"]
State = Literal["loading", "ready", "failed", "stopped"]
_log = logging.getLogger("guardcore")


@dataclass(frozen=True)
class Job:
    """One request's images ``[B, 3, H, W]``, its prompts, and where their scores go."""

    images: Tensor
    prompts: Sequence[Prompt]
    answer: Future[list[float]] = field(default_factory=Future)


class Worker:
    """Serves jobs in the order of their arrival.

    Args:
        build: Makes the reward.
        score: Calls it and checks what it returns ``[B]``.
        batch_size: The most images that the reward sees at once.
        changed: Told of each new state, from the worker's thread.

    Attributes:
        state: ``loading`` until the reward has been built and has seen one image.
        error: Why the reward could not be built, or None.
    """

    def __init__(
        self,
        build: Callable[[], Reward],
        score: Scorer,
        batch_size: int,
        changed: Callable[[State], None] = lambda state: None,
    ) -> None:
        self.state: State = "loading"
        self.error: Exception | None = None
        self._build, self._score, self._changed = build, score, changed
        self._batch_size = batch_size
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._ahead: Job | None = None
        self._thread = threading.Thread(target=self._run, name="reward", daemon=True)

    def start(self) -> None:
        """Begin to build the reward."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job; its answer comes when its turn has."""
        self._waiting.put(job)

    def stop(self, seconds: float) -> None:
        """Finish what is queued, close the reward; a reward that is still loading is left."""
        loading = self.state == "loading"
        self._waiting.put(None)
        self._thread.join(0 if loading else seconds)

    def _run(self) -> None:
        try:
            reward = self._build()
        except Exception as error:
            self.error = error
            self._become("failed")
            return
        try:
            self._warm(reward)
            self._become("ready")
            while jobs := self._gather():
                self._answer(reward, [j for j in jobs if j.answer.set_running_or_notify_cancel()])
        finally:
            self._become("stopped")
            reward.close()

    def _become(self, state: State) -> None:
        self.state = state
        self._changed(state)

    def _warm(self, reward: Reward) -> None:
        """Have the reward see one grey image; one that wants more of a prompt is warm enough."""
        import torch

        try:
            self._score(reward, torch.full((1, 3, 64, 64), 0.5), [Prompt('a sign that says "a"')])
        except Exception as error:
            _log.info("the reward did not score a grey image: %s", error)

    def _gather(self) -> list[Job]:
        """Return the jobs of the next call, at least one; none when it is time to stop."""
        first, self._ahead = self._ahead or self._waiting.get(), None
        jobs = [first] if first else []
        until = time.monotonic() + WAIT
        while jobs and sum(len(job.prompts) for job in jobs) < self._batch_size:
            try:
                another = self._waiting.get(timeout=max(until - time.monotonic(), 0))
            except queue.Empty:
                break
            if another is None:
                self._waiting.put(None)  # to be found again when these are done
                break
            if not self._fits(jobs, another):
                self._ahead = another
                break
            jobs.append(another)
        return jobs

    def _fits(self, jobs: list[Job], job: Job) -> bool:
        number = sum(len(j.prompts) for j in (*jobs, job))
        return number <= self._batch_size and job.images.shape[1:] == jobs[0].images.shape[1:]

    def _answer(self, reward: Reward, jobs: list[Job]) -> None:
        """Score jobs together; when that fails each by itself, so that one cannot spoil another."""
        import torch

        if not jobs:
            return
        prompts = [prompt for job in jobs for prompt in job.prompts]
        try:
            scores = self._scores(reward, torch.cat([job.images for job in jobs]), prompts)
        except Exception as error:
            if len(jobs) == 1:
                _log.warning("%s", error)
                jobs[0].answer.set_exception(error)
                return
            for job in jobs:
                self._answer(reward, [job])
            return
        for job in jobs:
            own, scores = scores[: len(job.prompts)], scores[len(job.prompts) :]
            job.answer.set_result(own)

    def _scores(self, reward: Reward, images: Tensor, prompts: Sequence[Prompt]) -> list[float]:
        return [
            score
            for start in range(0, len(prompts), self._batch_size)
            for score in self._score(
                reward,
                images[start : start + self._batch_size],
                prompts[start : start + self._batch_size],
            ).tolist()
        ]
