"""The over-optimisation watch: does the trained score still stand for what is wanted?

The *proxy* is what is trained on; *gold* is the mean of the rewards with weight 0, each divided by
the base model's value, as GRPO-Guard (arXiv 2510.22319) reports it. Both are taken on the held-out
prompts. The alarm is raised where the proxy's trend is up while gold's is down, each by more than
its noise.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guardcore.change import mean_and_error
from guardcore.config import Watch
from guardcore.run_directory import RunDirectory

_log = logging.getLogger("guardcore")

Scores = Mapping[str, Sequence[float]]
"""By reward, one score an image, as ``samples/*.json`` holds them."""


@dataclass(frozen=True)
class Trend:
    """A slope a hundred iterations, and its standard error over the images."""

    slope: float
    error: float

    def beyond(self, sigmas: float) -> float:
        """Return the sign of a slope that exceeds ``sigmas`` standard errors, else 0."""
        clear = abs(self.slope) > sigmas * self.error
        return math.copysign(1.0, self.slope) if clear else 0.0


@dataclass(frozen=True)
class Alarm:
    """What the watch found.

    Attributes:
        since: The first iteration of the window.
        iteration: The last.
        proxy: Trend of the trained score.
        gold: Trend of the gold score.
        best: The iteration with the highest gold score.
    """

    since: int
    iteration: int
    proxy: Trend
    gold: Trend
    best: int


@dataclass(frozen=True)
class _Seen:
    """An evaluation; proxy and gold are ``[M]``, one an image."""

    iteration: int
    proxy: Tensor
    gold: Tensor


class Watcher:
    """Compares evaluations of one run, on the same prompts and the same noise.

    Args:
        config: How far back to look, and how sure to be.
        weights: The rewards' weights; those of weight 0 make gold.
    """

    def __init__(self, config: Watch, weights: Mapping[str, float]) -> None:
        self._config = config
        self._weights = weights
        self._base: dict[str, float] = {}
        self._seen: list[_Seen] = []

    @property
    def best(self) -> int | None:
        """The iteration with the highest gold score so far, the base model left out."""
        later = [seen for seen in self._seen if seen.iteration > 0]
        return max(later, key=lambda seen: float(seen.gold.mean())).iteration if later else None

    @property
    def kept(self) -> int | None:
        """The iteration whose checkpoint is kept whatever its age: the best, where one is."""
        return self.best if self._config.keep_best else None

    def recall(self, record: RunDirectory) -> None:
        """Look again at what the evaluations of a run that goes on have found."""
        for row in record.rows("metrics"):
            found = record.read_samples(row["iteration"]) if "gold" in row else None
            if found is not None:
                self.look(row["iteration"], found["scores"])

    def look(self, iteration: int, scores: Scores) -> dict[str, float]:
        """Take in an evaluation; return its figures.

        ``proxy`` always; ``gold`` and ``alarm`` where a reward of weight 0 has a base value.
        """
        rows = {name: torch.tensor(values).double() for name, values in scores.items()}
        trained = [weight * rows[name] for name, weight in self._weights.items() if weight]
        proxy = torch.stack(trained).sum(0)
        if iteration == 0:
            self._base = self._base_values(rows)
        figures = {"proxy": float(proxy.mean())}
        if not self._base:
            return figures
        gold = torch.stack([rows[name] / base for name, base in self._base.items()]).mean(0)
        self._seen.append(_Seen(iteration, proxy, gold))
        alarmed = 0.0 if self.alarm() is None else 1.0
        return figures | {"gold": float(gold.mean()), "alarm": alarmed}

    def alarm(self) -> Alarm | None:
        """Return what is wrong with the last evaluations, if anything is."""
        window = self._seen[-self._config.window :]
        if len(window) < self._config.window or self.best is None:
            return None
        x = [seen.iteration for seen in window]
        proxy, gold = (
            trend(x, torch.stack(values))
            for values in ([seen.proxy for seen in window], [seen.gold for seen in window])
        )
        if (proxy.beyond(self._config.sigmas), gold.beyond(self._config.sigmas)) != (1, -1):
            return None
        return Alarm(x[0], x[-1], proxy, gold, self.best)

    def _base_values(self, rows: Mapping[str, Tensor]) -> dict[str, float]:
        means = {n: float(rows[n].mean()) for n, weight in self._weights.items() if not weight}
        for name in (name for name, mean in means.items() if mean <= 0):
            _log.warning(
                "gold leaves out %r: the base model's score is %.3g, and a score is divided by it",
                name,
                means[name],
            )
        return {name: mean for name, mean in means.items() if mean > 0}


def trend(iterations: Sequence[int], scores: Tensor) -> Trend:
    """Return the least-squares slope of ``scores [E, M]`` over E evaluations of M images.

    Each image has its own slope, because it has the same prompt and noise every time; their
    spread is the noise.
    """
    x = torch.tensor(iterations).double() / 100
    x = x - x.mean()
    slopes = (x[:, None] * scores).sum(0) / (x**2).sum()
    return Trend(*mean_and_error(slopes.tolist()))
