"""One of the processes that ``processes`` has started: times iterations together with the others.

``python -m guardcore.bench.process FOLDER``, under a launcher. ``FOLDER/config.json`` says what to
run. The first process leaves ``timed.json`` there; one that fails leaves ``failed-N.json``.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from statistics import median
from threading import Thread

import psutil
import torch
from pydantic import BaseModel

from guardcore.bench.loops import Loops
from guardcore.binding import bind
from guardcore.clock import Clock
from guardcore.config import RunConfig
from guardcore.errors import GuardcoreError, ProcessError, ToldByMainError
from guardcore.joining import joined, leave
from guardcore.launched import on_node, place
from guardcore.plugins import PluginHost
from guardcore.preflight import check_run
from guardcore.ranks import Ranks
from guardcore.registry import Registry
from guardcore.run import prepared

LAPS = 3
"""Iterations that count, after one that does not."""


class Timed(BaseModel):
    """An iteration of all processes: medians."""

    threads: int
    """Each process's."""
    seconds: float
    """The slowest process's."""
    waiting_share: float
    """Part of it that a process waited, the mean over the processes."""


class Failed(BaseModel):
    """Why a process has failed."""

    reason: str
    waited: bool
    """Whether that was because it waited in vain for another, which knows more."""


def time_together(config: RunConfig, registry: Registry) -> Timed:
    """Return the median of a few iterations in all the processes of a launcher.

    Raises:
        GuardcoreError: A config that can't run, or too few accelerators.
    """
    with joined(config.distributed) as ranks:
        with prepared(config, bind(config, registry), ranks) as run:
            check_run(run)
            loops = Loops(run)
            _check_devices(loops.device)
            _lap(loops, ranks)
            laps = [_lap(loops, ranks) for _ in range(LAPS)]
        seconds, waited = (median(figures) for figures in zip(*laps, strict=True))
        threads = torch.get_num_threads()
        return Timed(threads=threads, seconds=seconds, waiting_share=waited)


def _lap(loops: Loops, ranks: Ranks) -> tuple[float, float]:
    """Return an iteration's seconds, and the part that was waited."""
    clock = Clock()
    ranks.wait("benchmark")
    took = loops.ours(clock).wall
    lap = clock.lap()
    waited = lap.get("seconds/waiting", 0.0) / took
    return ranks.largest(took, "benchmark"), ranks.sum(waited, "benchmark") / ranks.world


def _check_devices(device: torch.device) -> None:
    """Refuse to have processes share an accelerator."""
    if device.type == "cpu":
        return
    number = torch.get_device_module(device).device_count()
    if number < on_node():
        raise GuardcoreError(
            f"{on_node()} processes want a {device.type} device each, and this machine has {number}"
        )


def work(folder: Path) -> int:
    """Time, and write down what came of it; return the exit code."""
    try:
        config = RunConfig.model_validate_json((folder / "config.json").read_bytes())
        timed = time_together(config, PluginHost.on_demand().registry)
    except ToldByMainError:
        return 2
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        failed = Failed(reason=reason, waited=isinstance(error, ProcessError))
        (folder / f"failed-{place()}.json").write_text(failed.model_dump_json(), encoding="utf-8")
        return 2
    if place() == 0:
        (folder / "timed.json").write_text(timed.model_dump_json(), encoding="utf-8")
    leave()
    return 0


def _end_with_parent() -> None:
    """End as soon as standard input does: a pipe from the process that asked, however it ends."""
    sys.stdin.buffer.read()
    _end(2)


def _end(code: int) -> None:
    """End at once, with what rewards have started, and without waiting for one that hangs."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    os._exit(code)


if __name__ == "__main__":
    logging.disable()  # what there is to say is in the files
    Thread(target=_end_with_parent, daemon=True).start()
    _end(work(Path(sys.argv[1])))
