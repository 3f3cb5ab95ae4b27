"""The contract, and known images with known scores."""

import torch
from guardcore import Prompt
from guardcore.testing import check_reward

from guardcore_your_name import YourNameOptions, your_name_reward


def test_it_keeps_the_contract() -> None:
    check_reward(your_name_reward(YourNameOptions()))


def test_an_even_image_has_0_and_stripes_have_half_their_difference_in_luminance() -> None:
    even, stripes, green = torch.full((3, 8, 8), 0.7), torch.zeros(3, 8, 8), torch.zeros(3, 8, 8)
    stripes[:, :, ::2] = 1
    green[1, :, ::2] = 1
    reward = your_name_reward(YourNameOptions(cap=0.5))
    scores = reward(torch.stack([even, stripes, green]), [Prompt("")] * 3)
    torch.testing.assert_close(scores, torch.tensor([0.0, 0.5, 0.7152 / 2]))


def test_no_score_is_above_the_cap() -> None:
    stripes = torch.zeros(1, 3, 8, 8)
    stripes[..., ::2] = 1
    scores = your_name_reward(YourNameOptions(cap=0.2))(stripes, [Prompt("")])
    torch.testing.assert_close(scores, torch.tensor([0.2]))
