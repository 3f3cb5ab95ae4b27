"""The contract, and one step by hand."""

import torch
from guardcore import Sampler, Schedule
from guardcore.testing import check_sampler

from guardcore_your_name import YourNameOptions, your_name_sampler


def at_noise_level(level: float) -> Sampler:
    return your_name_sampler(YourNameOptions(noise_level=level))


def test_it_keeps_the_contract() -> None:
    check_sampler(at_noise_level(1.0), at_noise_level=at_noise_level)


def test_a_step_from_one_half_to_one_quarter_by_hand() -> None:
    step = Schedule(torch.tensor([0.5, 0.25, 0.0])).step(0, batch=1)
    found = at_noise_level(2.0).transition(torch.tensor([[-2.0]]), torch.tensor([[1.0]]), step)
    # g = 1, g²/(2·sigma) = 1, dt = 1/4
    torch.testing.assert_close(found.std, torch.tensor([1 / 2]))
    torch.testing.assert_close(found.velocity_gain, torch.tensor([3 / 8]))
    torch.testing.assert_close(found.mean, torch.tensor([[3 / 4 + 2 * 3 / 8]]))
