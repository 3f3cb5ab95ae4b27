"""The contract, and the formula at two points."""

import math

import torch
from guardcore import RatioTerms
from guardcore.testing import check_ratio_transform, step_context

from guardcore_your_name import YourNameOptions, your_name_transform


def test_it_keeps_the_contract() -> None:
    check_ratio_transform(your_name_transform(YourNameOptions()))


def test_value_and_slope_at_nothing_and_at_the_bound() -> None:
    log_ratio = torch.tensor([0.0, 0.01], dtype=torch.float64, requires_grad=True)
    squash = your_name_transform(YourNameOptions(bound=0.01))
    terms = squash(RatioTerms(log_ratio), step_context(rows=2))
    wanted = torch.tensor([0.0, 0.01 * math.tanh(1)], dtype=torch.float64)
    torch.testing.assert_close(terms.log_ratio, wanted)
    (slope,) = torch.autograd.grad(terms.log_ratio.sum(), log_ratio)
    wanted = torch.tensor([1.0, 1 - math.tanh(1) ** 2], dtype=torch.float64)
    torch.testing.assert_close(slope, wanted)


def test_bounds_that_an_earlier_word_has_set_stay() -> None:
    low, high = torch.tensor([0.99, 0.9]), torch.tensor([1.02, 1.2])
    before = RatioTerms(torch.zeros(2), low, high)
    after = your_name_transform(YourNameOptions())(before, step_context(rows=2))
    assert torch.equal(after.low, low)
    assert torch.equal(after.high, high)
