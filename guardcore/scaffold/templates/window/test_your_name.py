"""The contract, and how often each step's turn comes."""

import torch
from guardcore.testing import check_window

from guardcore_your_name import YourNameOptions, your_name_window


def test_it_keeps_the_contract() -> None:
    check_window(your_name_window(YourNameOptions()))


def test_every_step_is_trained_in_size_of_steps_iterations() -> None:
    window = your_name_window(YourNameOptions(size=3))
    generator, turns = torch.Generator().manual_seed(0), torch.zeros(9)
    for iteration in range(1, 901):
        chosen = window(iteration, 9, generator)
        assert len(chosen) == 3
        turns[list(chosen)] += 1
    # 300 turns of 900, with a standard deviation of sqrt(900·1/3·2/3) = 14
    assert ((turns - 300).abs() < 4 * 14.2).all()


def test_a_short_trajectory_is_trained_whole() -> None:
    window = your_name_window(YourNameOptions(size=8))
    assert list(window(1, 5, torch.Generator())) == [0, 1, 2, 3, 4]
