"""The laws of a window: which steps are stochastic and trained in an iteration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from hypothesis import strategies as st

from guardcore import noise
from guardcore.errors import GuardcoreError
from guardcore.testing.law import BrokenError, hold_each, label, once

Window = Callable[[int, int, torch.Generator], Sequence[int]]

MOST = 49
"""Of the trainable steps: a schedule of 50."""


@dataclass(frozen=True, repr=False)
class WindowCase:
    """The arguments of one call."""

    iteration: int
    steps: int
    seed: int

    def places(self, window: Window) -> Sequence[int] | None:
        """Return what ``window`` chooses; None where it refuses the number of steps."""
        drawn = noise.generator(self.seed, self.iteration, "window")
        try:
            return window(self.iteration, self.steps, drawn)
        except (GuardcoreError, ValueError):
            return None

    def __repr__(self) -> str:
        """Return the call."""
        drawn = f"noise.generator({self.seed}, {self.iteration}, 'window')"
        return f"window({self.iteration}, {self.steps}, {drawn})"


def check_window(window: Window, *, name: str | None = None) -> None:
    """Check that a window keeps to its contract.

    It may refuse a number of steps that it does not fit, by a ValueError or GuardcoreError.

    Raises:
        ContractError: The first law that is broken, with the smallest case found.
    """
    who = label("window", window, name)
    once("some-schedule-fits", who, lambda: _some_schedule_fits(window))
    laws = (places_of_steps, same_for_equal_arguments, no_other_randomness, refuses_at_once)
    hold_each(who, laws, window, _cases())


def _some_schedule_fits(window: Window) -> None:
    """Of the schedules of 2 to 50 steps it accepts one."""
    if all(WindowCase(1, steps, 0).places(window) is None for steps in range(1, MOST + 1)):
        raise BrokenError(f"it refuses every schedule of 2 to {MOST + 1} steps")


def places_of_steps(window: Window, case: WindowCase) -> None:
    """It chooses at least one step, by distinct places from 0 to steps − 1, rising."""
    places = case.places(window)
    if places is None:
        return
    chosen = list(places)
    if not all(type(place) is int for place in chosen):
        raise BrokenError(f"places are ints, received {chosen}")
    if not chosen:
        raise BrokenError("at least one step is trained, received none")
    if chosen[0] < 0 or chosen[-1] >= case.steps or chosen != sorted(set(chosen)):
        raise BrokenError(
            f"places must be distinct, rising and from 0 to {case.steps - 1}, received {chosen}"
        )


def same_for_equal_arguments(window: Window, case: WindowCase) -> None:
    """A resumed run trains the same steps: no state, whatever iteration was asked for before."""
    first = case.places(window)
    WindowCase(case.iteration + 1, case.steps, case.seed).places(window)
    second = case.places(window)
    if _listed(first) != _listed(second):
        raise BrokenError(f"the same arguments gave {first}, then {second}: it keeps state")


def no_other_randomness(window: Window, case: WindowCase) -> None:
    """It draws from the generator that it is given, and leaves torch's own alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(case.seed)
        before, first = torch.get_rng_state(), case.places(window)
        if not torch.equal(before, torch.get_rng_state()):
            raise BrokenError("it drew from torch's global generator, not from the one given")
        torch.manual_seed(case.seed + 1)
        second = case.places(window)
    if _listed(first) != _listed(second):
        raise BrokenError(f"another global seed gave {second} in place of {first}")


def refuses_at_once(window: Window, case: WindowCase) -> None:
    """A number of steps that does not fit is refused in the first iteration, or never."""
    first = WindowCase(1, case.steps, case.seed).places(window)
    if (first is None) != (case.places(window) is None):
        accepted, refused = (1, case.iteration) if first is not None else (case.iteration, 1)
        raise BrokenError(f"iteration {accepted} takes {case.steps} steps, {refused} refuses them")


def _cases() -> st.SearchStrategy[WindowCase]:
    steps = st.integers(1, MOST)
    return st.builds(WindowCase, st.integers(1, 1000), steps, st.integers(0, 99))


def _listed(places: Sequence[int] | None) -> list[int] | None:
    return None if places is None else list(places)
