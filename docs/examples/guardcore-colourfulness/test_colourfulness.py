"""The contract, and known images with known scores."""

import torch

from guardcore import Prompt, create
from guardcore.testing import check_reward


def images() -> torch.Tensor:
    """Grey, and all red."""
    grey, red = torch.full((3, 8, 8), 0.5), torch.zeros(3, 8, 8)
    red[0] = 1
    return torch.stack([grey, red])


def test_it_keeps_the_contract() -> None:
    check_reward(create("reward", "colourfulness"))


def test_grey_is_0_and_even_red_is_its_shift_alone() -> None:
    scores = create("reward", "colourfulness")(images(), [Prompt("")] * 2)
    torch.testing.assert_close(scores, torch.tensor([0.0, 0.3 * 1.25**0.5]))


def test_no_score_is_above_the_cap() -> None:
    reward = create("reward", "colourfulness", cap=0.1)
    assert reward(images(), [Prompt("")] * 2).max() <= 0.1
