"""One measurement against an earlier one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from guardcore.bench.result import Result


@dataclass(frozen=True)
class Change:
    """One figure, before and now."""

    name: str
    unit: str
    old: float
    new: float

    @property
    def relative(self) -> float | None:
        """``new/old − 1``; None where the old figure is 0."""
        return self.new / self.old - 1 if self.old else None


def changes(old: Result, new: Result) -> list[Change]:
    """Return every figure that both hold."""
    before, now = _figures(old), _figures(new)
    return [
        Change(name, unit, before[name, unit], value)
        for (name, unit), value in now.items()
        if (name, unit) in before
    ]


def differences(old: Result, new: Result) -> list[str]:
    """Return what makes the two hard to compare: another config, machine or version."""
    lines = []
    if old.config_digest != new.config_digest:
        lines.append(f"another config: {old.config_digest} then, {new.config_digest} now")
    if old.machine != new.machine:
        lines.append(
            f"another machine: {old.machine} then, {new.machine} now; ratios compare, seconds don't"
        )
    if old.guardcore != new.guardcore:
        lines.append(f"another guardcore: {old.guardcore} then, {new.guardcore} now")
    return lines


def _figures(result: Result) -> Mapping[tuple[str, str], float]:
    """Return figures by name and unit."""
    figures = dict(_loops(result))
    if result.peak_memory_bytes is not None:
        figures["peak memory", "MiB"] = result.peak_memory_bytes / 2**20
    if result.waiting_share is not None:
        figures["waiting for rewards", "share"] = result.waiting_share
    figures |= {(f"reward {name}", "s"): took for name, took in result.reward_seconds.items()}
    figures |= {(phase, "s"): seconds for phase, seconds in result.phases.items()}
    figures |= {
        (f"reward {row.name} alone", "images/s"): row.images_per_second
        for row in result.rewards
        if row.images_per_second is not None
    }
    for name, other in result.beside.items():
        figures |= {
            (f"{name}: {what}", unit): value for (what, unit), value in _loops(other).items()
        }
    return figures


def _loops(result: Result) -> Mapping[tuple[str, str], float]:
    """Return the figures that every config has, one beside another too."""
    figures = {
        ("floor ratio", ""): result.floor_ratio,
        ("iteration", "s"): result.seconds,
        ("bare loop", "s"): result.floor_seconds,
        ("images per second", ""): result.images_per_second,
    }
    if result.cpu_ratio is not None:
        figures["cpu ratio", ""] = result.cpu_ratio
    figures |= {
        (f"{row.setting}={row.value}", "s"): row.seconds
        for row in result.scaling
        if row.seconds is not None
    }
    for row in result.processes:
        found = {"s": row.seconds, "speed-up": row.speedup, "waiting": row.waiting_share}
        figures |= {
            (f"processes={row.processes}", unit): value
            for unit, value in found.items()
            if value is not None
        }
    return figures
