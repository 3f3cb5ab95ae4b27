"""Which steps an iteration trains: its window, asked and checked.

Of a schedule's T steps the last one is never trained, whatever the window; the T − 1 others are
numbered from 0, the noisiest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from guardcore.bound import Bound, validate_options
from guardcore.components import Window
from guardcore.config import RunConfig
from guardcore.errors import ComponentError
from guardcore.registry import Registry

PATH = "rollout.train_steps"
"""Where a config names the window."""


@runtime_checkable
class Reaching(Protocol):
    """Options that know which steps their window may choose."""

    def reach(self, steps: int, /) -> Sequence[int]:
        """Return every step that may be chosen of ``steps``, rising.

        Raises:
            ValueError: The window does not fit into so many.
        """


def reach(bound: Bound, steps: int) -> Sequence[int]:
    """Return every step of ``steps`` that a window may choose: all, where its options don't say.

    Raises:
        ValueError: The window does not fit into so many.
    """
    options = bound.options
    return options.reach(steps) if isinstance(options, Reaching) else range(steps)


@dataclass(frozen=True)
class TrainedSteps:
    """A run's window over its schedule.

    Attributes:
        name: The window's, for errors.
        window: Chooses.
        steps: T − 1, how many there are to choose from.
        reach: Every step that it may ever choose.
    """

    name: str
    window: Window
    steps: int
    reach: Sequence[int]

    def at(self, seed: int, iteration: int) -> list[int]:
        """Return the iteration's stochastic, trained steps, rising.

        Raises:
            ComponentError: The window raised, or broke its contract.
        """
        from guardcore.noise import generator  # imports torch

        who = f"window {self.name!r}"
        try:
            chosen = list(self.window(iteration, self.steps, generator(seed, iteration, "window")))
        except Exception as error:
            raise ComponentError(f"{who} raised {type(error).__name__}: {error}") from error
        if not _sound(chosen, self.steps):
            raise ComponentError(
                f"{who} must choose different steps from 0 to {self.steps - 1}, rising, one at "
                f"least; for iteration {iteration} it returned {chosen}"
            )
        return chosen


def built_window(bound: Bound, num_inference_steps: int) -> TrainedSteps:
    """Build a run's window."""
    steps = num_inference_steps - 1
    return TrainedSteps(bound.entry.qualified, bound.build(), steps, reach(bound, steps))


def find_window(config: RunConfig, registry: Registry) -> Bound:
    """Return a config's window alone.

    Raises:
        GuardcoreError: There is none of that name, or it refuses its options.
    """
    spec = config.rollout.train_steps
    entry = registry.find("window", spec.use)
    return Bound(PATH, entry, validate_options(entry, spec.options, PATH))


def _sound(chosen: Sequence[object], steps: int) -> bool:
    whole = all(type(step) is int and 0 <= step < steps for step in chosen)
    return whole and len(chosen) > 0 and list(chosen) == sorted({*chosen})  # type: ignore[type-var]
