"""The contract; the range follows the step; bounds already there are kept."""

import torch

from guardcore import RatioTerms, create
from guardcore.testing import check_ratio_transform, step_context


def test_it_keeps_the_contract() -> None:
    check_ratio_transform(create("ratio_transform", "spread-clip"))


def test_the_range_is_the_width_times_each_rows_own_spread() -> None:
    rows = step_context(rows=2, steps=[0, 8])  # the first, and the last that is trained
    clip = create("ratio_transform", "spread-clip", width=0.01)
    terms = clip(RatioTerms(torch.zeros(2)), rows)
    spread = rows.old.velocity_gain / rows.old.std
    torch.testing.assert_close(terms.high - 1, 0.01 * spread)
    torch.testing.assert_close(1 - terms.low, 0.01 * spread)
    assert spread[1] > 2 * spread[0]


def test_a_narrower_range_stays() -> None:
    before = RatioTerms(torch.zeros(2), low=0.999, high=1.001)
    clip = create("ratio_transform", "spread-clip", width=10.0)
    after = clip(before, step_context(rows=2))
    torch.testing.assert_close(after.low, before.low)
    torch.testing.assert_close(after.high, before.high)
