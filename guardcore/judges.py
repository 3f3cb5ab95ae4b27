"""Rewards at work while the next images are sampled: a thread each, scores in the images' order.

A reward is called from its own thread only, so never twice at a time, and different rewards may
work side by side. What comes back depends on no timing: scores are kept by micro-batch, and where
several calls fail, the error of the first micro-batch is the one that is raised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType

import torch
from torch import Tensor

from guardcore.clock import Clock
from guardcore.components import Reward
from guardcore.errors import RewardTimeoutError
from guardcore.judge import KEY, PATIENCE, Judge, Scores
from guardcore.prompt import Prompt

IN_FLIGHT = 4
"""Micro-batches that may wait for a reward; more would only fill the host's memory."""


class Judges:
    """A run's rewards at work; on leaving, every call is over, but for one that hangs.

    Args:
        rewards: By name.
        timeout: Seconds that one call may take; None: any time.
        key: The config key that says so.
    """

    def __init__(
        self, rewards: Mapping[str, Reward], timeout: float | None = None, key: str = KEY
    ) -> None:
        torch.get_num_threads()  # fixes this thread's number before a judge sets its own
        self._judges = {name: Judge(name, reward, timeout, key) for name, reward in rewards.items()}

    def __enter__(self) -> Judges:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        hurry = isinstance(error, RewardTimeoutError) or not isinstance(error, Exception | None)
        for judge in self._judges.values():
            judge.stop()
        for judge in self._judges.values():
            judge.finish(PATIENCE if hurry else None)

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
            ComponentError: A reward broke its contract on an earlier micro-batch, or took too long.
        """
        self._collect(IN_FLIGHT - 1)
        self._open.append({name: j.submit(images, prompts) for name, j in self._judges.items()})

    def collect(self) -> dict[str, Tensor]:
        """Wait for the rest; return every reward as ``[N]``, in the order of submission.

        Raises:
            ComponentError: A reward raised, took too long, or returned another shape or a
                non-finite number.
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
                self._done.append({n: self._judges[n].result(call) for n, call in calls.items()})
                del self._open[0]
