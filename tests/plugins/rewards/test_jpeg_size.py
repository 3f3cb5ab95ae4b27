"""The JPEG size: flat images are small, noise is large, and nothing depends on the batch."""

import io

import pytest
import torch
from PIL import Image

from guardcore import Prompt
from guardcore_plugins.rewards.jpeg_size import JpegSizeOptions, jpeg_size

FLAT = torch.full((1, 3, 32, 32), 0.5)
NOISE = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
IMAGES, PROMPTS = torch.cat([FLAT, NOISE]), [Prompt("a"), Prompt("b")]


def test_small_files_are_preferred_by_default():
    flat, noise = jpeg_size(JpegSizeOptions())(IMAGES, PROMPTS)
    assert noise < flat < 0


def test_the_opposite_preference_is_the_opposite_sign():
    small = jpeg_size(JpegSizeOptions())(IMAGES, PROMPTS)
    assert torch.equal(small, -jpeg_size(JpegSizeOptions(prefer="large"))(IMAGES, PROMPTS))


def test_the_unit_is_a_thousand_bytes():
    pixels = (NOISE[0] * 255).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=95)
    size = jpeg_size(JpegSizeOptions(prefer="large"))(NOISE, PROMPTS[:1])
    assert size.tolist() == pytest.approx([len(file.getvalue()) / 1000])


def test_a_lower_quality_gives_a_smaller_file():
    low, high = (jpeg_size(JpegSizeOptions(quality=q))(NOISE, PROMPTS[:1]) for q in (30, 95))
    assert low > high


def test_a_batch_scores_as_its_rows_do():
    reward = jpeg_size(JpegSizeOptions())
    rows = [reward(IMAGES[i : i + 1], PROMPTS[i : i + 1]) for i in range(2)]
    assert torch.equal(reward(IMAGES, PROMPTS), torch.cat(rows))
    reward.close()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_floating_point_type_is_taken_and_float32_returned(dtype):
    scores = jpeg_size(JpegSizeOptions())(FLAT.to(dtype).requires_grad_(), PROMPTS[:1])
    assert scores.dtype == torch.float32
    assert not scores.requires_grad
