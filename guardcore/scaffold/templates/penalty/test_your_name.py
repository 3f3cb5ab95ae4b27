"""The contract, and the price of a known change."""

from dataclasses import replace

import torch
from guardcore.testing import check_penalty, step_context

from guardcore_your_name import YourNameOptions, your_name_penalty


def test_it_keeps_the_contract() -> None:
    check_penalty(your_name_penalty(YourNameOptions()))


def test_a_change_of_three_tenths_costs_its_square_less_the_slack() -> None:
    reference = torch.zeros(2, 4, 8, 8)
    velocity = reference.clone()
    velocity[1] = 0.3
    context = replace(step_context(rows=2), velocity=velocity, reference_velocity=reference)
    price = your_name_penalty(YourNameOptions(slack=0.04))(context)
    torch.testing.assert_close(price, torch.tensor([0.0, 0.09 - 0.04]))
