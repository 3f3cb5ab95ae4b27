"""Faults on demand: a stranger's plugin that hangs, lies, fills the disk and kills.

Every fault is a component of a config, so that a run meets it as it would meet the real one. In a
test's own process ``faulty_host()`` adds it; the command line's tests install it as a distribution.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from guardcore import Options, Prompt, Registrar, hookimpl
from guardcore.launched import place
from guardcore.plugins import PluginHost
from guardcore.registry import Origin
from toy import ToyBackbone, ToyOptions, toy_host

ORIGIN = Origin("faults", "1.0", "faults", "faults")
FOREVER = 600.0
"""Seconds; every test has given up long before."""


def kill() -> None:
    """End this process as a power failure would."""
    os.kill(os.getpid(), signal.SIGKILL)


def terminate() -> None:
    """What a scheduler does first."""
    os.kill(os.getpid(), signal.SIGTERM)


def hang() -> None:
    time.sleep(FOREVER)


def hang_in_a_pool() -> None:
    """Hang where the interpreter would wait at its end: it joins such threads."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(hang).result()


def hang_with_a_child() -> None:
    """Hang on a process, which says in ``child.pid`` which it is, and outlives its parent."""
    child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({FOREVER})"])
    Path("child.pid").write_text(str(child.pid))
    child.wait()


def fill_the_disk() -> None:
    """Let no file grow beyond 1000 bytes from now on: what needs no root, and reads alike."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def break_down() -> None:
    raise RuntimeError("the judge has left the room")


FAULTS = {
    "none": lambda: None,
    "kill": kill,
    "terminate": terminate,
    "hang": hang,
    "hang-in-a-pool": hang_in_a_pool,
    "hang-with-a-child": hang_with_a_child,
    "full-disk": fill_the_disk,
    "raise": break_down,
}


class FaultyOptions(Options):
    fault: Literal[*FAULTS] = Field("none", description="what happens")
    rank: int | None = Field(None, description="the process that has the faults; null: every")
    at: int = Field(1, ge=1, description="the call at which it happens, once")
    nan_at: int | None = Field(None, description="the call whose scores are NaN")
    seconds: float = Field(0.0, ge=0, description="of every call")
    levels: int | None = Field(None, description="different scores; null: any")


class Faulty:
    """The mean brightness, in ``levels`` if given, until the fault."""

    def __init__(self, options: FaultyOptions) -> None:
        self.options = options
        self.calls = 0

    def __call__(self, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        self.calls += 1
        time.sleep(self.options.seconds)
        mine = self.options.rank in (None, place())
        if mine and self.calls == self.options.at:
            FAULTS[self.options.fault]()
        scores = images.mean((1, 2, 3))
        if self.options.levels:
            scores = (scores * self.options.levels).round() / self.options.levels
        return scores * torch.nan if mine and self.calls == self.options.nan_at else scores

    def close(self) -> None:
        pass


class FaultyToyOptions(ToyOptions):
    nan_at: int | None = Field(None, description="the velocity that is NaN, counted from 1")
    kill_at: int | None = Field(None, description="the velocity at which the process is killed")
    rank: int | None = Field(None, description="the process that has the faults; null: every")
    seconds: float = Field(0.0, ge=0, description="of every velocity")


class FaultyToy(ToyBackbone):
    """Its velocity passes a block, which can be shared out, and changes nothing."""

    options: FaultyToyOptions

    def __init__(self, options: FaultyToyOptions) -> None:
        super().__init__(options)
        self.velocities = 0
        self.block = torch.nn.Linear(2, 2, bias=False).requires_grad_(False)

    def blocks(self) -> list[torch.nn.Module]:
        return [self.block]

    def velocity(self, x, sigma, condition):
        self.velocities += 1
        time.sleep(self.options.seconds)
        mine = self.options.rank in (None, place())
        if mine and self.velocities == self.options.kill_at:
            kill()
        found = super().velocity(x, sigma, condition) + self.block(torch.zeros(1, 2)).sum()
        return found * torch.nan if mine and self.velocities == self.options.nan_at else found


class FaultyTrackerOptions(Options):
    iteration: int | None = Field(None, description="the iteration whose figures bring the fault")
    fault: Literal["full", "kill", "terminate"] = Field("full", description="what happens")
    slow_disk: float = Field(0.0, ge=0, description="seconds that every fsync takes longer")


class FaultyTracker:
    """Fails at the figures of an iteration; slows the disk of the whole process from its start."""

    def __init__(self, options: FaultyTrackerOptions) -> None:
        self.options = options
        self._fsync = os.fsync
        if options.slow_disk:
            os.fsync = self._slowly

    def _slowly(self, handle: int) -> None:
        time.sleep(self.options.slow_disk)
        self._fsync(handle)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        if step == self.options.iteration:
            if self.options.fault == "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "tracked.bin")
            FAULTS[self.options.fault]()

    def images(self, step, name, images, captions) -> None:
        pass

    def close(self) -> None:
        os.fsync = self._fsync


class SlowWordsOptions(Options):
    seconds: float = Field(description="to build it")


class GaugeOptions(Options):
    path: Path = Field(description="file that gets a line an iteration")


class Gauge:
    """Writes down what the process holds: iteration, resident bytes, open files, threads."""

    def __init__(self, options: GaugeOptions) -> None:
        self.file = options.path.open("a")

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        held = (pages * resource.getpagesize(), len(os.listdir("/proc/self/fd")))
        print(step, *held, threading.active_count(), file=self.file)

    def images(self, step, name, images, captions) -> None:
        pass

    def close(self) -> None:
        self.file.close()


def faulty(options: FaultyOptions) -> Faulty:
    """A reward with a fault."""
    return Faulty(options)


def faulty_toy(options: FaultyToyOptions) -> FaultyToy:
    """A backbone with a fault."""
    return FaultyToy(options)


def faulty_tracker(options: FaultyTrackerOptions) -> FaultyTracker:
    """A tracker with a fault."""
    return FaultyTracker(options)


def slow_words(options: SlowWordsOptions) -> list[Prompt]:
    """One prompt, from afar."""
    Path("building").write_text("")
    time.sleep(options.seconds)
    return [Prompt("w")]


def gauge(options: GaugeOptions) -> Gauge:
    """A tracker of the process itself."""
    return Gauge(options)


@hookimpl
def guardcore_register_rewards(register: Registrar) -> None:
    register("faulty", faulty)


@hookimpl
def guardcore_register_prompt_sources(register: Registrar) -> None:
    register("slow-words", slow_words)


@hookimpl
def guardcore_register_backbones(register: Registrar) -> None:
    register("faulty-toy", faulty_toy)


@hookimpl
def guardcore_register_trackers(register: Registrar) -> None:
    register("faulty-tracker", faulty_tracker)
    register("gauge", gauge)


def faulty_host(**factories: tuple[str, object]) -> PluginHost:
    """Return the toy's host with these components too."""
    import faults as this_module

    host = toy_host(**factories)
    host.add(this_module, ORIGIN)
    return host
