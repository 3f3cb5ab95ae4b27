"""What a measurement found, as a file: written by ``bench --json``, read by ``bench --against``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from guardcore.config import Section
from guardcore.errors import GuardcoreError


class Machine(Section):
    """What the seconds depend on beside the config; it names no host."""

    device: str
    processors: int | None = None
    """How many the process may use; None in older files."""
    threads: int
    torch: str

    def __str__(self) -> str:
        number = f"{self.processors} processors, " if self.processors else ""
        return f"{self.device}, {number}{self.threads} threads, torch {self.torch}"


class Scaled(Section):
    """One iteration with another batch size, number of steps, group size or resolution."""

    setting: str
    value: int | str
    """A resolution is ``HEIGHTxWIDTH``, in pixels."""
    seconds: float | None
    """None: it could not be timed."""
    images_per_second: float | None
    reason: str | None = None
    """Why it could not be timed; None in older files, whose memory was too small."""


class Judged(Section):
    """One reward by itself, on a micro-batch of images: the median of a few calls."""

    name: str
    images: int | None = None
    seconds: float | None = None
    """A call's; None: it could not be timed."""
    images_per_second: float | None = None
    reason: str | None = None
    """Why it could not be timed."""


class Parallel(Section):
    """One iteration in several processes of the machine: the median of a few."""

    processes: int
    threads: int | None = None
    """Each process's."""
    seconds: float | None = None
    """The slowest process's; None: it could not be timed."""
    images_per_second: float | None = None
    speedup: float | None = None
    """The seconds of one process, started likewise, over these."""
    efficiency: float | None = None
    """``speedup`` over the number of processes; 1 where nothing is lost."""
    waiting_share: float | None = None
    """Part of it that a process waited, for others or for rewards: the mean over the processes."""
    idle: int = 0
    """Processes that no micro-batch is left for."""
    reason: str | None = None
    """Why it could not be timed."""


class Result(Section):
    """Seconds are an iteration's, medians over the pairs of our loop and the bare one."""

    floor_ratio: float
    """Our seconds over the bare loop's, median over the pairs."""
    floor_ratios: tuple[float, ...]
    cpu_ratio: float | None
    """The same in seconds of processor time, which other processes hardly touch; on a CPU only."""
    seconds: float
    floor_seconds: float
    images: int
    images_per_second: float
    phases: dict[str, float]
    waiting_share: float | None = None
    """Part of an iteration spent waiting for rewards; None in older files."""
    reward_seconds: dict[str, float] = Field(default_factory=dict)
    """What each reward took of an iteration, in a thread of its own beside the phases."""
    rewards: tuple[Judged, ...] = ()
    """Each reward by itself; none in older files."""
    peak_memory_bytes: int | None
    scaling: tuple[Scaled, ...]
    processes: tuple[Parallel, ...] = ()
    """The same iteration in several processes; none where none were asked for."""
    beside: dict[str, Result] = Field(default_factory=dict)
    """Other configs, measured after this one; their peak memory on a CPU is the whole process's."""
    machine: Machine
    config_digest: str
    guardcore: str

    @staticmethod
    def read(path: Path) -> Result:
        """Read what ``bench --json`` wrote.

        Raises:
            GuardcoreError: It is missing, or something else.
        """
        try:
            return Result.model_validate_json(path.read_bytes())
        except OSError as error:
            raise GuardcoreError(f"cannot read {path}: {error.strerror}") from error
        except ValidationError as error:
            place = ".".join(str(part) for part in error.errors()[0]["loc"])
            fault = f"{place}: " if place else ""
            raise GuardcoreError(
                f"{path} is not what this version's `guardcore bench --json` writes "
                f"({fault}{error.errors()[0]['msg']})"
            ) from error
