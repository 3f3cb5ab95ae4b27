"""The same iteration with half and twice the batch size, steps, group size and resolution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from guardcore.bench.loops import Loops
from guardcore.bench.result import Scaled
from guardcore.config import Rollout
from guardcore.errors import GuardcoreError

SMALLEST = {"batch_size": 1, "num_inference_steps": 2, "group_size": 2}
RESOLUTION = "resolution"
SMALLEST_SIDE = 8
"""Pixels, as the config has it."""


@dataclass(frozen=True)
class Variant:
    """A rollout that differs in one setting."""

    setting: str
    value: int | str
    changed: Mapping[str, int]

    def of(self, rollout: Rollout) -> Rollout:
        """Return ``rollout`` with what differs."""
        return rollout.model_copy(update=dict(self.changed))

    def row(self, rollout: Rollout, seconds: float | None, reason: str | None = None) -> Scaled:
        """Return a row of the table; ``rollout`` is the config's."""
        own = self.of(rollout)
        images = own.groups * own.group_size
        return Scaled(
            setting=self.setting,
            value=self.value,
            seconds=seconds,
            images_per_second=None if seconds is None else images / seconds,
            reason=reason,
        )


def variants(rollout: Rollout) -> list[list[Variant]]:
    """Return each setting with half, the config's and twice its value, where there are such."""
    found = []
    for setting, smallest in SMALLEST.items():
        value: int = getattr(rollout, setting)
        values = dict.fromkeys((max(smallest, value // 2), value, 2 * value))
        found.append([Variant(setting, other, {setting: other}) for other in values])
    height, width = rollout.height, rollout.width
    sizes = [(height // 2, width // 2), (height, width), (2 * height, 2 * width)]
    if height % 2 or width % 2 or min(sizes[0]) < SMALLEST_SIDE:
        del sizes[0]
    found.append([Variant(RESOLUTION, f"{h}x{w}", {"height": h, "width": w}) for h, w in sizes])
    return found


def turns(rollout: Rollout) -> int:
    """Return how many iterations ``scale`` tells of."""
    return sum(v.of(rollout) != rollout for some in variants(rollout) for v in some)


def scale(loops: Loops, seconds: float, tell: Callable[[str], None]) -> tuple[Scaled, ...]:
    """Time one iteration of each variant; ``seconds`` is what the config as it is takes.

    A variant that fails has its reason instead; a resolution that the model can't draw has no row.
    """
    rollout, rows = loops.run.config.rollout, []
    for variant in (v for some in variants(rollout) for v in some):
        changed = variant.of(rollout)
        if changed == rollout:
            rows.append(variant.row(rollout, seconds))
            continue
        tell(f"{variant.setting}={variant.value}")
        if _drawn(loops, changed):
            rows.append(variant.row(rollout, *_seconds(loops, changed)))
    return tuple(rows)


def _drawn(loops: Loops, rollout: Rollout) -> bool:
    """Whether the model can draw the rollout's size."""
    try:
        loops.run.backbone.latent_shape(rollout.height, rollout.width)
    except (ValueError, GuardcoreError):
        return False
    return True


def _seconds(loops: Loops, rollout: Rollout) -> tuple[float | None, str | None]:
    """Return one iteration's seconds, on an accelerator the second one's of a new shape.

    Or why there are none: a reward that wants another size, a model that breaks at this one.
    """
    try:
        if loops.device.type != "cpu":
            loops.ours(rollout=rollout)
        return loops.ours(rollout=rollout).wall, None
    except torch.OutOfMemoryError:
        return None, "out of memory"
    except Exception as error:  # of a component, at a setting that nobody asked for
        return None, " ".join(str(error).split()) or type(error).__name__
