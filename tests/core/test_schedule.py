import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guardcore import Schedule


def test_a_schedule_of_t_plus_1_levels_has_t_steps_and_gives_each_its_levels():
    schedule = Schedule(torch.tensor([1.0, 0.75, 0.25, 0.0]))
    assert len(schedule) == 3
    step = schedule.step(1, batch=2)
    assert step.index.tolist() == [1, 1]
    assert step.sigma.tolist() == [0.75, 0.75]
    assert step.sigma_next.tolist() == [0.25, 0.25]
    assert step.dt.tolist() == [0.5, 0.5]


def test_rows_may_be_at_different_steps():
    step = Schedule(torch.tensor([1.0, 0.75, 0.25, 0.0])).step(torch.tensor([2, 0]), batch=2)
    assert step.sigma.tolist() == [0.25, 1.0]
    assert step.sigma_next.tolist() == [0.0, 0.75]


@pytest.mark.parametrize(
    ("levels", "largest"),
    [([1.0, 0.9, 0.0], 0.9), ([1 - 1e-8, 0.8, 0.0], 0.8), ([0.97, 0.5, 0.0], 0.97), ([1.0, 0], 0)],
)
def test_sigma_max_is_the_largest_level_below_one(levels, largest):
    schedule = Schedule(torch.tensor(levels, dtype=torch.float64))
    assert schedule.sigma_max == schedule.step(0, 1).sigma_max == largest


@pytest.mark.parametrize(
    "levels",
    [[1.0], [[1.0, 0.0]], [1.0, 0.5], [0.5, 1.0, 0.0], [1.0, 0.5, 0.5, 0.0], [1.5, 0.0], []],
    ids=["one level", "2-d", "not to 0", "rises", "stands still", "above 1", "empty"],
)
def test_levels_that_do_not_fall_from_at_most_one_to_zero_are_refused(levels):
    with pytest.raises(ValueError, match="sigmas must"):
        Schedule(torch.tensor(levels))


def test_a_nan_level_is_refused():
    with pytest.raises(ValueError, match="sigmas must"):
        Schedule(torch.tensor([1.0, torch.nan, 0.0]))


@pytest.mark.parametrize("index", [-1, 3, torch.tensor([0, 3]), torch.tensor([-1, 0])])
def test_steps_outside_the_schedule_are_refused(index):
    with pytest.raises(IndexError, match="schedule of 3 steps"):
        Schedule(torch.tensor([1.0, 0.6, 0.3, 0.0])).step(index, 2)


def test_one_index_a_row_or_none():
    with pytest.raises(ValueError, match=r"\[3\], received \[2\]"):
        Schedule(torch.tensor([1.0, 0.5, 0.0])).step(torch.tensor([0, 1]), 3)


@given(st.lists(st.floats(1e-3, 1), min_size=1, max_size=30, unique=True))
def test_all_steps_together_go_from_the_first_level_to_zero(levels):
    schedule = Schedule(torch.tensor([*sorted(levels, reverse=True), 0.0], dtype=torch.float64))
    step = schedule.step(torch.arange(len(schedule)), len(schedule))
    assert (step.dt > 0).all()
    assert float(step.dt.sum()) == pytest.approx(max(levels), rel=1e-12)
