"""The contract, and the formula on a schedule."""

from dataclasses import replace

import torch
from guardcore import Schedule
from guardcore.testing import check_gradient_weight, step_context

from guardcore_your_name import YourNameOptions, your_name_weight


def test_it_keeps_the_contract() -> None:
    check_gradient_weight(your_name_weight(YourNameOptions()))


def test_it_is_each_rows_own_noise_level_to_the_power() -> None:
    schedule = Schedule(torch.tensor([1.0, 0.25, 0.0]))
    step = schedule.step(torch.tensor([1, 0, 1]), batch=3)
    context = replace(step_context(rows=3), step=step)
    weights = your_name_weight(YourNameOptions(power=0.5))(context)
    torch.testing.assert_close(weights, torch.tensor([0.5, 1.0, 0.5]))
