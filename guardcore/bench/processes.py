"""The same iteration in several processes of this machine, which torch's own launcher starts.

Every process has as many threads, or an accelerator of its own, so that with twice the processes
there is twice the hardware. One process is started in the same way as many.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import psutil

from guardcore.bench.machine import processors
from guardcore.bench.result import Parallel
from guardcore.config import RunConfig
from guardcore.errors import GuardcoreError
from guardcore.plan import micro_batches

if TYPE_CHECKING:
    from guardcore.bench.process import Timed

PATIENCE = 10.0
"""Seconds that a launcher has to end by itself."""


def in_processes(
    config: RunConfig, numbers: Sequence[int], tell: Callable[[str], None]
) -> tuple[Parallel, ...]:
    """Time the iteration in each number of processes, the smallest first.

    Whatever fails has its reason in the row. The components are those of the installed plugins.
    """
    threads = _threads(max(numbers, default=1))
    rows: list[Parallel] = []
    for number in sorted(numbers):
        tell(f"{number} process{'es' if number > 1 else ''}")
        try:
            timed = _timed(config, number, threads)
        except GuardcoreError as error:
            rows.append(Parallel(processes=number, reason=str(error)))
            continue
        rows.append(_row(config, number, timed, rows[0] if rows else None))
    return tuple(rows)


def _row(config: RunConfig, number: int, timed: Timed, first: Parallel | None) -> Parallel:
    """Return a row; ``first`` is that of one process, if this is another."""
    rollout = config.rollout
    images = rollout.groups * rollout.group_size
    alone = timed.seconds if first is None else first.seconds
    speedup = None if alone is None else alone / timed.seconds
    return Parallel(
        processes=number,
        threads=timed.threads,
        seconds=timed.seconds,
        images_per_second=images / timed.seconds,
        speedup=speedup,
        efficiency=None if speedup is None else speedup / number,
        waiting_share=timed.waiting_share,
        idle=max(0, number - len(micro_batches(images, rollout.batch_size))),
    )


def _threads(most: int) -> str:
    """Return the threads of each process: ``OMP_NUM_THREADS``, or its share of the processors."""
    return os.environ.get("OMP_NUM_THREADS") or str(max(1, processors() // most))


def _timed(config: RunConfig, number: int, threads: str) -> Timed:
    """Start the processes, and return what they found.

    Raises:
        GuardcoreError: Why there is nothing.
    """
    from guardcore.bench.process import Timed

    with TemporaryDirectory(prefix="guardcore-bench-") as name:
        folder = Path(name)
        (folder / "config.json").write_text(config.model_dump_json(by_alias=True), "utf-8")
        with _launched(folder, number, threads) as launcher:
            code = launcher.wait()
        found = folder / "timed.json"
        if code == 0 and found.is_file():
            return Timed.model_validate_json(found.read_bytes())
        raise GuardcoreError(_reason(folder, code))


def _reason(folder: Path, code: int) -> str:
    """Return what the process says that failed first, or else that one was ended from outside."""
    from guardcore.bench.process import Failed

    failed = [Failed.model_validate_json(p.read_bytes()) for p in folder.glob("failed-*.json")]
    reasons = [found.reason for found in sorted(failed, key=lambda found: found.waited)]
    said = (folder / "said").read_text("utf-8", "replace").split("\n")
    last = next((line.strip() for line in reversed(said) if line.strip()), "nothing was said")
    return reasons[0] if reasons else f"a process was killed, or torchrun failed ({code}): {last}"


@contextmanager
def _launched(folder: Path, number: int, threads: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start ``torchrun``; on leaving, neither it nor anything that it has started is left."""
    argv = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(number)]
    module = ["-m", "guardcore.bench.process", str(folder)]
    with (folder / "said").open("wb") as said:
        launcher = subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *argv, *module],
            stdin=subprocess.PIPE,  # the processes end when it closes: see process.py
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=_environment(threads),
            start_new_session=True,  # Ctrl-C is this process's, and the pipe passes it on
        )
    try:
        yield launcher
    finally:
        started = _started_by(launcher)
        if launcher.stdin is not None:
            launcher.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            launcher.wait(PATIENCE)
        for process in started:
            with suppress(psutil.Error):
                process.kill()
        launcher.kill()
        launcher.wait()


def _started_by(launcher: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the launcher's processes, and theirs."""
    with suppress(psutil.Error):
        return psutil.Process(launcher.pid).children(recursive=True)
    return []


def _environment(threads: str) -> dict[str, str]:
    """Return the environment of the processes, which import what this one does."""
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    own = {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": threads}
    return dict(os.environ) | own
