"""The range follows the step; bounds already there are kept."""

import torch

from guardcore import RatioTerms, Schedule, StepContext, create


def context() -> StepContext:
    """Two rows, at the first and the second step of three."""
    schedule = Schedule(torch.tensor([1.0, 0.9, 0.5, 0.0]))
    step = schedule.step(torch.tensor([0, 1]), batch=2)
    x = torch.zeros(2, 4)
    transition = create("sampler", "flow-sde").transition(x, x, step)
    return StepContext(step=step, old=transition, new=transition, x_next=x)


def test_the_range_is_the_width_times_each_rows_own_spread() -> None:
    rows = context()
    clip = create("ratio_transform", "spread-clip", width=0.01)
    terms = clip(RatioTerms(torch.zeros(2)), rows)
    spread = rows.old.velocity_gain / rows.old.std
    torch.testing.assert_close(terms.high - 1, 0.01 * spread)
    torch.testing.assert_close(1 - terms.low, 0.01 * spread)
    assert spread[1] > 2 * spread[0]


def test_a_narrower_range_stays() -> None:
    before = RatioTerms(torch.zeros(2), low=0.999, high=1.001)
    clip = create("ratio_transform", "spread-clip", width=10.0)
    after = clip(before, context())
    torch.testing.assert_close(after.low, before.low)
    torch.testing.assert_close(after.high, before.high)
