"""The same iteration with half and twice the batch size, denoising steps and group size."""

from __future__ import annotations

from collections.abc import Callable

import torch

from guardcore.bench.loops import Loops
from guardcore.bench.result import Scaled
from guardcore.config import Rollout

SMALLEST = {"batch_size": 1, "num_inference_steps": 2, "group_size": 2}


def variants(rollout: Rollout) -> list[tuple[str, Rollout]]:
    """Return the setting that differs with each rollout, six at most."""
    found = []
    for setting, smallest in SMALLEST.items():
        value: int = getattr(rollout, setting)
        for other in (max(smallest, value // 2), 2 * value):
            if other != value:
                found.append((setting, rollout.model_copy(update={setting: other})))
    return found


def scale(loops: Loops, seconds: float, tell: Callable[[str], None]) -> tuple[Scaled, ...]:
    """Time one iteration of each variant; ``seconds`` is what the config as it is takes."""
    rollout = loops.run.config.rollout
    rows = [row(setting, rollout, seconds) for setting in SMALLEST]
    for setting, changed in variants(rollout):
        tell(f"{setting}={getattr(changed, setting)}")
        rows.append(row(setting, changed, _seconds(loops, changed)))
    order = list(SMALLEST)
    return tuple(sorted(rows, key=lambda r: (order.index(r.setting), r.value)))


def _seconds(loops: Loops, rollout: Rollout) -> float | None:
    """Return one iteration's seconds, on an accelerator the second one's of a new shape."""
    try:
        if loops.device.type != "cpu":
            loops.ours(rollout=rollout)
        return loops.ours(rollout=rollout).wall
    except torch.OutOfMemoryError:
        return None


def row(setting: str, rollout: Rollout, seconds: float | None) -> Scaled:
    """Return a row of the table."""
    images = rollout.groups * rollout.group_size
    return Scaled(
        setting=setting,
        value=getattr(rollout, setting),
        seconds=seconds,
        images_per_second=None if seconds is None else images / seconds,
    )
