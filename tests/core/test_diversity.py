import math

import pytest
import torch

from guardcore.diversity import SIDE, diversity, thumbnails
from runs import rows, run


def flat(*values):
    return torch.stack([torch.full((3, 64, 64), value) for value in values])


def test_black_and_white_are_as_far_apart_as_can_be():
    pictures = thumbnails(flat(0.0, 1.0))
    assert pictures.shape == (2, 3 * SIDE**2)
    assert diversity(pictures, torch.tensor([0, 0])) == pytest.approx(1.0)


def test_a_group_of_equal_images_has_none():
    assert diversity(thumbnails(flat(0.3, 0.3, 0.3)), torch.zeros(3)) == 0


def test_it_is_the_mean_over_pairs_and_then_over_groups():
    pictures = thumbnails(flat(0.0, 0.1, 0.2, 0.5, 0.5, 0.5))
    found = diversity(pictures, torch.tensor([7, 7, 7, 2, 2, 2]))
    assert found == pytest.approx(((0.1 + 0.1 + 0.2) / 3 + 0) / 2, rel=1e-4)  # float32 sums


def test_noise_below_the_thumbnails_pixels_hardly_counts():
    noise = 0.5 + 0.1 * torch.randn(2, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    # a mean over 32² pixels: the difference of two has sd √2·0.1/32
    assert diversity(thumbnails(noise), torch.zeros(2)) == pytest.approx(
        math.sqrt(2) * 0.1 / 32, rel=0.1
    )


def test_every_iteration_reports_it(tmp_path):
    run(tmp_path, rollout={"batch_size": 4})
    found = [row["diversity"] for row in rows(tmp_path, "metrics") if row["iteration"] > 0]
    assert all(0 < value < 1 for value in found)
