"""One reward and the thread that calls it, with a limit on what a call may take.

Left out: ending a call that hangs. No thread can be ended from outside; it is a daemon, waited for
no longer than the time-out, and ends with the process.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple

import torch
from torch import Tensor

from guardcore.components import Reward
from guardcore.errors import RewardTimeoutError
from guardcore.prompt import Prompt
from guardcore.scoring import score

KEY = "rollout.reward_timeout"
"""Where a config says what a call may take."""

PATIENCE = 0.5
"""Seconds that a second Ctrl-C, or a time-out, leaves a reward that is at work."""


class Scores(NamedTuple):
    """A micro-batch's scores ``[B]``, and how long the reward took."""

    values: Tensor
    seconds: float


class _Job:
    """One call of a reward."""

    def __init__(self, images: Tensor, prompts: Sequence[Prompt]) -> None:
        self.future: Future[Scores] = Future()
        self._images: Tensor | None = images
        self.prompts = prompts

    def run(self, name: str, reward: Reward) -> None:
        images, self._images = self._images, None
        if images is None or not self.future.set_running_or_notify_cancel():
            return
        start = time.perf_counter()
        try:
            scores = Scores(score(name, reward, images, self.prompts), time.perf_counter() - start)
        except BaseException as error:
            self.future.set_exception(error)
        else:
            del images  # before anybody is told
            self.future.set_result(scores)


class _Call(NamedTuple):
    """What a judge is at."""

    start: float
    prompts: Sequence[Prompt]


class Judge(Thread):
    """One reward and the thread that calls it.

    The thread is a daemon: a reward that hangs does not keep the process from ending.

    Args:
        name: The reward's.
        reward: The reward.
        timeout: Seconds that one call may take; None: any time.
        key: The config key that says so.
    """

    def __init__(
        self, name: str, reward: Reward, timeout: float | None = None, key: str = KEY
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.reward = reward
        self._timeout, self._key = timeout, key
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._at: _Call | None = None
        in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        self._gpu = torch.cuda.current_device() if in_use else None
        self.start()

    def submit(self, images: Tensor, prompts: Sequence[Prompt]) -> Future[Scores]:
        """Have images ``[B, 3, H, W]`` scored after those submitted before them."""
        job = _Job(images, prompts)
        self._jobs.put(job)
        return job.future

    def result(self, future: Future[Scores]) -> Scores:
        """Wait for a call.

        Raises:
            RewardTimeoutError: It, or one before it, has taken too long.
            ComponentError: The reward broke its contract.
        """
        while True:
            call = self._at
            try:
                return future.result(self._left(call))
            except TimeoutError:  # ours: what a reward raises is a ComponentError
                if not future.done() and self._at is call:
                    raise RewardTimeoutError(self._late(call)) from None

    def stop(self) -> None:
        """Take no further calls."""
        self._jobs.put(None)

    def finish(self, timeout: float | None) -> None:
        """Wait until the last call is over; ``timeout`` seconds, or as long as it may take."""
        self.join(self._left(self._at) if timeout is None else timeout)

    def run(self) -> None:
        """Call the reward for what is submitted, one after the other."""
        if not torch.cuda.is_available():
            # For this thread alone: the cores are the sampling's, and a second full team of OpenMP
            # threads keeps both teams from spinning, which costs an iteration more than half.
            torch.set_num_threads(1)
        if self._gpu is not None:  # the default is a thread's own
            torch.cuda.set_device(self._gpu)
        while (job := self._jobs.get()) is not None:
            self._at = _Call(time.monotonic(), job.prompts)
            job.run(self.name, self.reward)
            self._at = None
            del job

    def _left(self, call: _Call | None) -> float | None:
        """Return how long a call may still take; a whole call's time where none is under way."""
        if self._timeout is None:
            return None
        since = 0.0 if call is None else time.monotonic() - call.start
        return max(0.0, self._timeout - since)

    def _late(self, call: _Call | None) -> str:
        prompts = call.prompts if call is not None else []
        first = f"; the first of {len(prompts)} prompts was {prompts[0].text!r}" if prompts else ""
        return (
            f"reward {self.name!r} has not answered for {self._timeout:g} s "
            f"({self._key}){first}; mend it, then go on with --resume"
        )


def at_work() -> list[Judge]:
    """Return the judges whose thread has not ended: after a run, those that hang."""
    return [thread for thread in threading.enumerate() if isinstance(thread, Judge)]


def close(reward: Reward) -> None:
    """Close a reward; one that hangs is told so beside its call, and not waited for."""
    if all(judge.reward is not reward for judge in at_work()):
        reward.close()
        return

    def tell() -> None:
        with contextlib.suppress(Exception):  # nothing is left to be said to it
            reward.close()

    closer = Thread(target=tell, name=f"close {type(reward).__name__}", daemon=True)
    closer.start()
    closer.join(PATIENCE)
