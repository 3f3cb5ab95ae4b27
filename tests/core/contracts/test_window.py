"""Windows that keep the laws, and windows that break each."""

import itertools
import random

import numpy as np
import pytest
import torch

from guardcore.testing import check_window
from laws import broken


def everything(iteration, steps, generator):
    return range(steps)


def sliding(iteration, steps, generator):
    first = (iteration - 1) // 25 % steps
    return range(first, min(first + 4, steps))


def drawn(iteration, steps, generator):
    if steps < 4:
        raise ValueError(f"a window of 4 steps does not fit into {steps}")
    first = int(torch.randint(steps - 3, (), generator=generator))
    return [first, first + 1, first + 2, first + 3]


@pytest.mark.parametrize("window", [everything, sliding, drawn])
def test_a_sound_window_passes(window):
    check_window(window)


def beyond_the_end(iteration, steps, generator):
    return range(steps + 1)


def nothing(iteration, steps, generator):
    return range(4, steps)


def falling(iteration, steps, generator):
    return range(steps)[::-1]


def twice(iteration, steps, generator):
    return [0, 0]


def of_numpy(iteration, steps, generator):
    return list(np.arange(steps))


def past_the_last(iteration, steps, generator):
    """Moves on with the iterations and forgets where the schedule ends."""
    return [iteration // 25]


def global_draws(iteration, steps, generator):
    return [int(torch.randint(steps, ()))]


def pythons_draws(iteration, steps, generator):
    return [random.randrange(steps)]


class Counting:
    def __init__(self):
        self.calls = itertools.count()

    def __call__(self, iteration, steps, generator):
        return [next(self.calls) % steps]


def refuses_later(iteration, steps, generator):
    if iteration > 10 and steps < 8:
        raise ValueError("too few steps")
    return range(steps)


def refuses_all(iteration, steps, generator):
    raise ValueError("never")


@pytest.mark.parametrize(
    ("window", "law"),
    [
        (beyond_the_end, "places-of-steps"),
        (nothing, "places-of-steps"),
        (falling, "places-of-steps"),
        (twice, "places-of-steps"),
        (of_numpy, "places-of-steps"),
        (past_the_last, "places-of-steps"),
        (global_draws, "same-for-equal-arguments"),
        (pythons_draws, "same-for-equal-arguments"),
        (Counting(), "same-for-equal-arguments"),
        (refuses_later, "refuses-at-once"),
        (refuses_all, "some-schedule-fits"),
    ],
)
def test_a_window_with_a_bug_breaks_the_law_that_forbids_it(window, law):
    assert broken(check_window, window).law == law


def test_a_window_that_seeds_torch_itself_is_found():
    def reseeds(iteration, steps, generator):
        torch.manual_seed(iteration)
        return [int(torch.randint(steps, ()))]

    before = torch.get_rng_state()
    error = broken(check_window, reseeds)
    assert (error.law, error.who) == ("no-other-randomness", "window 'reseeds'")
    torch.set_rng_state(before)


def test_the_smallest_case_is_shown():
    error = broken(check_window, nothing)
    assert error.reason == "at least one step is trained, received none"
    assert error.case == "window(1, 1, noise.generator(0, 1, 'window'))"
