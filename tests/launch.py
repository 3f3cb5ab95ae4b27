"""Starts the processes of one run, by hand or by the field's launchers."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from socket import socket

import psutil
import yaml

from forge import Done, Guardcore, Process
from toy import toy_tree

TESTS = Path(__file__).parent
ROOT = TESTS.parent
WAIT = 900
"""Seconds after which a test gives up; all processes are killed then."""


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    code: int
    out: str
    err: str


class Started:
    """The processes of one run, by rank."""

    def __init__(self, processes: list[subprocess.Popen]) -> None:
        self.processes = processes

    def wait(self) -> list[Ended]:
        """Wait for all; none is left when this returns."""
        ended = []
        try:
            for process in self.processes:
                out, err = process.communicate(timeout=WAIT)
                ended.append(Ended(process.returncode, out, err))
        finally:
            for process in self.processes:
                process.kill()
        return ended


class Group:
    """The processes of one run, forked from a warm interpreter; by rank."""

    def __init__(self, processes: list[Process]) -> None:
        self.processes = processes

    def __getitem__(self, rank: int) -> Process:
        return self.processes[rank]

    def wait(self) -> list[Done]:
        """Wait for all of them."""
        return [process.wait() for process in self.processes]

    def orphans(self) -> list[int]:
        """Return what is left of the processes that these have started: each leads a session."""
        sessions = {process.pid for process in self.processes}
        return [p.pid for p in psutil.process_iter() if _lives(p) and _session(p) in sessions]


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _session(process: psutil.Process) -> int | None:
    with suppress(ProcessLookupError):
        return os.getsid(process.pid)
    return None


def together(guardcore: Guardcore, world: int, *argv: object, **env: str) -> Group:
    """Start ``guardcore`` in ``world`` processes at once; ``env`` is added to each one's own."""
    port = str(free_port())
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(world)}
    own = [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} | env for rank in range(world)]
    return Group([guardcore.start(*argv, env=each) for each in own])


def free_port() -> int:
    with socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(
    world: int, *argv: object, path: Path, cwd: Path, module: str = "guardcore_cli", **env: str
) -> Started:
    """Start ``guardcore`` in ``world`` processes, with the variables that a launcher sets.

    ``path`` goes before ``PYTHONPATH``.
    """
    common = environment(path) | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
    }
    ranks = [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} | env for rank in range(world)]
    return Started([_popen([sys.executable, "-m", module, *argv], cwd, each) for each in ranks])


def launch(launcher: str, *argv: object, path: Path, cwd: Path) -> Ended:
    """Run a launcher, ``torchrun`` or ``accelerate``, to its end."""
    command = [Path(sys.executable).with_name(launcher), *argv]
    (ended,) = Started([_popen(command, cwd, environment(path))]).wait()
    return ended


def environment(path: Path) -> dict[str, str]:
    """One thread a process, whatever their number: another number of threads rounds otherwise."""
    places = [path, TESTS, ROOT, ROOT / "plugins", ROOT / "cli"]
    given = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    joined = os.pathsep.join(map(str, places))
    return given | {"OMP_NUM_THREADS": "1", "PYTHONPATH": joined, "COLUMNS": "200"}


def _popen(command: list, cwd: Path, env: dict[str, str]) -> subprocess.Popen:
    return subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def write_config(folder: Path, **sections: object) -> Path:
    """Write a config of the toy, as ``toy_tree`` says it."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(toy_tree(**sections)))))
    return path
