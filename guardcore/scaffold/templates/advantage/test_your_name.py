"""The contract, and two groups by hand."""

import torch
from guardcore.testing import check_advantage

from guardcore_your_name import YourNameOptions, your_name_advantage


def test_it_keeps_the_contract() -> None:
    check_advantage(your_name_advantage(YourNameOptions()))


def test_two_groups_by_hand() -> None:
    rewards = {
        "first": torch.tensor([1.0, 2.0, 100.0, 0.5, 0.5]),
        "second": torch.tensor([0.0, 5.0, 0.0, 0.0, 0.0]),
    }
    groups = torch.tensor([0, 0, 0, 1, 1])
    advantage = your_name_advantage(YourNameOptions(scale=3.0))
    found = advantage(rewards, groups, {"first": 1.0, "second": 1.0})
    torch.testing.assert_close(found, torch.tensor([-2.0, 0.0, 2.0, 0.0, 0.0]))
    # without the first reward, the second image is the best and the others are level
    found = advantage(rewards, groups, {"first": 0.0, "second": 1.0})
    torch.testing.assert_close(found, torch.tensor([-1.0, 2.0, -1.0, 0.0, 0.0]))
