"""BRISQUE: clean photographs above spoilt ones, drawings and constants without a crash."""

import math
import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from guardcore import GuardcoreError, Prompt
from guardcore_plugins.rewards.brisque import SMALLEST, Brisque, BrisqueOptions, brisque

PHOTOGRAPHS = ["astronaut", "camera", "chelsea", "coffee"]  # that the wheel of scikit-image holds


def as_images(pictures):
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255


def prompts(images):
    return [Prompt("a photo")] * len(images)


@pytest.fixture(scope="module")
def reward():
    pytest.importorskip("brisque")
    return brisque(BrisqueOptions())


@pytest.fixture(scope="module")
def photographs():
    data = pytest.importorskip("skimage.data")

    def photograph(name):
        image = Image.fromarray(getattr(data, name)()).convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        return image.crop((left, top, left + side, top + side))

    return [photograph(name) for name in PHOTOGRAPHS]


def noisy(image):
    rng = np.random.default_rng(0)
    return (np.asarray(image) + rng.normal(0, 25, (*image.size, 3))).clip(0, 255).astype(np.uint8)


def blurred(image):
    return np.asarray(image.filter(ImageFilter.GaussianBlur(2)))


@pytest.mark.parametrize("side", [64, 128, 256])
def test_a_clean_photograph_scores_above_a_spoilt_one(reward, photographs, side):
    small = [image.resize((side, side), Image.Resampling.LANCZOS) for image in photographs]
    clean, noise, blur = (
        reward(as_images([spoil(image) for image in small]), prompts(small))
        for spoil in (np.asarray, noisy, blurred)
    )
    assert (clean >= 0.75).all()
    assert (noise <= 0.65).all()
    assert (blur <= 0.45).all()


@pytest.mark.parametrize(
    ("badness", "score"), [(0, 1), (25, 0.75), (-8, 1.08), (100, 0), (156, 0), (math.nan, 0)]
)
def test_the_score_is_one_less_a_hundredth_and_never_negative(badness, score):
    images = torch.zeros(1, 3, SMALLEST, SMALLEST)
    assert Brisque(lambda picture: badness)(images, prompts(images)).tolist() == pytest.approx(
        [score]
    )


def test_images_without_statistics_score_nothing(reward):
    flat = [torch.full((3, 64, 64), value) for value in (0.0, 0.5, 1.0)]
    stripes = (torch.arange(64) % 2).float().expand(3, 64, 64)
    images = torch.stack([*flat, stripes])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reward(images, prompts(images)).tolist() == [0, 0, 0, 0]


def test_a_batch_scores_as_its_rows_do(reward):
    images = torch.rand(3, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    rows = [reward(image[None], prompts([image])) for image in images]
    assert torch.equal(reward(images, prompts(images)), torch.cat(rows))
    reward.close()


def test_smaller_images_are_refused(reward):
    with pytest.raises(ValueError, match=r"at least 64×64 pixels, received \[1, 3, 64, 63\]"):
        reward(torch.zeros(1, 3, 64, 63), prompts("a"))


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "brisque", None)
    with pytest.raises(GuardcoreError, match=r"pip install 'guardcore\[brisque\]'"):
        brisque(BrisqueOptions())
