"""Starts the processes of one run, by hand or by the field's launchers."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from socket import socket

import yaml

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
