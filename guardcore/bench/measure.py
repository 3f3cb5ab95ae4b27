"""Measures a config: our loop and the bare one in turn, in one process, over one model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from statistics import median
from typing import Any

from guardcore.bench import machine
from guardcore.bench.cases import Case, Further, cases
from guardcore.bench.loops import Loops, Seconds, WaitingClock
from guardcore.bench.processes import in_processes
from guardcore.bench.result import Judged, Result
from guardcore.bench.rewards import time_rewards
from guardcore.bench.scaling import scale, turns
from guardcore.binding import bind
from guardcore.bound import resolved
from guardcore.clock import PHASES, Clock
from guardcore.config import RunConfig
from guardcore.plugins import PluginHost
from guardcore.preflight import check_run
from guardcore.registry import Registry
from guardcore.run import prepared

Tell = Callable[[str], None]
"""Is told before each iteration, and each reward, what comes next."""

WAITING_LAPS = 3
"""Iterations for the phases on an accelerator, where a phase's end has to be waited for."""


@dataclass(frozen=True)
class Pair:
    """An iteration of our loop, one of the bare loop, and what ours took apart."""

    ours: Seconds
    floor: Seconds
    lap: Mapping[str, float]
    peak_memory: int | None


def iterations(config: RunConfig, pairs: int, scaling: bool) -> int:
    """Return how many times ``measure`` calls ``tell``, but for rewards and processes."""
    return 2 * (1 + pairs) + (turns(config.rollout) if scaling else 0)


def measure(
    config: RunConfig,
    *,
    pairs: int = 5,
    scaling: bool = True,
    rewards: bool = True,
    processes: Sequence[int] = (),
    further: Further | None = None,
    registry: Registry | None = None,
    tell: Tell = lambda what: None,
) -> Result:
    """Time ``pairs`` iterations of each loop after a warm-up, then rewards, then variants.

    Trackers, evaluation and checkpoints are left out; the weights are the base's each time. Several
    ``processes`` come first, while this one holds no model; they know installed plugins only.

    Raises:
        GuardcoreError: A config that can't run.
    """
    silent = config.model_copy(update={"tracker": ()})
    registry = registry or PluginHost.on_demand().registry
    binding = bind(silent, registry)
    timed = cases(silent, binding, registry, further) if rewards else ()
    together = in_processes(silent, processes, tell)
    with prepared(silent, binding) as run:
        check_run(run)
        loops = Loops(run)
        for loop in (loops.ours, loops.floor):
            tell("warming up")
            loop()
        found = [pair(loops, tell) for _ in range(pairs)]
        waits = loops.device.type != "cpu"
        laps = [waiting_lap(loops) for _ in range(WAITING_LAPS)] if waits else []
        seconds = median(p.ours.wall for p in found)
        images = config.rollout.groups * config.rollout.group_size
        return Result(
            floor_ratio=median(p.ours.wall / p.floor.wall for p in found),
            floor_ratios=tuple(p.ours.wall / p.floor.wall for p in found),
            cpu_ratio=None if waits else median(p.ours.cpu / p.floor.cpu for p in found),
            seconds=seconds,
            floor_seconds=median(p.floor.wall for p in found),
            images=images,
            images_per_second=images / seconds,
            phases=phases(laps or [p.lap for p in found]),
            waiting_share=median(share(p.lap, "waiting") for p in found),
            reward_seconds=reward_seconds([p.lap for p in found]),
            rewards=judged(loops, timed, tell),
            peak_memory_bytes=max((p.peak_memory for p in found if p.peak_memory), default=None),
            scaling=scale(loops, seconds, tell) if scaling else (),
            processes=together,
            machine=machine.describe(loops.device),
            config_digest=digest(resolved(silent, binding)),
            guardcore=version("guardcore"),
        )


def judged(loops: Loops, timed: Sequence[Case], tell: Tell) -> tuple[Judged, ...]:
    """Time rewards on images of the base's weights."""
    loops.go_back()
    return time_rewards(loops.run, timed, tell)


def pair(loops: Loops, tell: Tell) -> Pair:
    """Time one iteration of each loop, ours first."""
    machine.forget_peak(loops.device)
    clock = Clock()
    tell("our loop")
    ours = loops.ours(clock)
    lap, peak_memory = clock.lap(), machine.peak_memory(loops.device)
    tell("bare loop")
    return Pair(ours, loops.floor(), lap, peak_memory)


def waiting_lap(loops: Loops) -> Mapping[str, float]:
    """Take one iteration of ours apart, waiting for the device between its phases."""
    clock = WaitingClock(lambda: machine.wait(loops.device))
    loops.ours(clock)
    return clock.lap()


def phases(laps: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median seconds of each phase that an iteration has, in their order."""
    names = [phase for phase in PHASES if f"seconds/{phase}" in laps[0]]
    return {name: median(lap[f"seconds/{name}"] for lap in laps) for name in names}


def share(lap: Mapping[str, float], phase: str) -> float:
    """Return a phase's part of an iteration, from 0 to 1."""
    return lap[f"seconds/{phase}"] / lap["seconds/total"]


def reward_seconds(laps: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median seconds that each reward was at work, in a thread beside the phases."""
    prefix = "seconds/reward/"
    names = [key for key in laps[0] if key.startswith(prefix)]
    return {key.removeprefix(prefix): median(lap[key] for lap in laps) for key in names}


def digest(config: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that stand for a resolved config."""
    text = json.dumps(config, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
