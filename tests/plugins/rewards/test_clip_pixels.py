"""The preprocessing: the reference's pixels, from a batch."""

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from guardcore_plugins.rewards.clip_pixels import Preprocessing, resize

PilProcessor = getattr(transformers, "CLIPImageProcessorPil", transformers.CLIPImageProcessor)
RNG = np.random.default_rng(0)


def noise(height, width, size=2):
    return RNG.integers(0, 256, (size, height, width, 3), dtype=np.uint8)


def stripes(height, width):
    """Edges from 0 to 255, where a bicubic filter overshoots and rounding in between shows."""
    line = np.where(np.arange(width) % 7 < 3, 0, 255).astype(np.uint8)
    return np.broadcast_to(line[None, None, :, None], (1, height, width, 3)).copy()


def as_images(pictures):
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


SIZES = [(512, 512), (64, 64), (300, 451), (768, 512), (37, 90), (224, 224), (225, 224)]


@pytest.mark.parametrize("drawn", [noise, stripes])
@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_the_reference_processors(size, drawn):
    pictures = drawn(*size)
    processor = PilProcessor()  # CLIP's own: 224 pixels, bicubic, centre crop, its means
    expected = processor([Image.fromarray(p) for p in pictures], return_tensors="pt").pixel_values
    given = Preprocessing.of(processor)(as_images(pictures))
    assert given.dtype == torch.float32
    assert given.shape == expected.shape
    assert (given - expected).abs().max() < 1e-5  # the same bytes; the rest is float32


OTHERS = {
    "height and width": {"size": {"height": 48, "width": 40}, "do_center_crop": False},
    "a crop within": {"size": {"shortest_edge": 60}, "crop_size": {"height": 40, "width": 51}},
    "no resizing": {"do_resize": False, "crop_size": {"height": 32, "width": 32}},
    "no normalising": {"do_normalize": False},
    "bytes as they are": {"do_rescale": False, "do_normalize": False},
    "one number each": {"size": 48, "crop_size": 48},
    "another range": {"image_mean": [0.5] * 3, "image_std": [0.25] * 3},
}


@pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)
def test_what_the_processors_file_says_is_done(options, tmp_path):
    PilProcessor(**options).save_pretrained(tmp_path)
    processor = PilProcessor.from_pretrained(tmp_path)
    pictures = noise(90, 70)
    expected = processor([Image.fromarray(p) for p in pictures], return_tensors="pt").pixel_values
    given = Preprocessing.of(processor)(as_images(pictures))
    assert torch.allclose(given, expected.float(), atol=1e-5, rtol=1e-6)


def test_resizing_is_pils_byte_for_byte():
    levels = torch.from_numpy(noise(45, 61)).permute(0, 3, 1, 2)
    for height, width in ((90, 122), (17, 20), (45, 20), (90, 30), (45, 61)):
        expected = [
            np.asarray(Image.fromarray(p.permute(1, 2, 0).numpy()).resize((width, height), 3))
            for p in levels
        ]
        given = resize(levels.float(), height, width).permute(0, 2, 3, 1)
        assert np.array_equal(given.byte().numpy(), np.stack(expected))


def test_values_outside_the_range_are_clamped():
    same = Preprocessing(None, None, 1 / 255, (0, 0, 0), (1, 1, 1))
    images = torch.tensor([-0.5, 0.5, 1.5]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    assert same(images)[0, 0, 0].tolist() == pytest.approx([0, 128 / 255, 1])


def test_an_image_does_not_depend_on_its_batch():
    preprocess = Preprocessing.of(PilProcessor())
    images = as_images(noise(64, 64, size=5))
    whole = preprocess(images)
    assert all(torch.equal(whole[k : k + 1], preprocess(images[k : k + 1])) for k in range(5))


def test_other_filters_and_too_large_crops_are_refused():
    with pytest.raises(ValueError, match=r"expected bicubic resizing \(3\), received 2"):
        Preprocessing.of(PilProcessor(resample=2))
    wide = Preprocessing.of(PilProcessor(size={"shortest_edge": 32}))
    with pytest.raises(ValueError, match="cannot crop 224 x 224 pixels out of 32 x 32"):
        wide(torch.zeros(1, 3, 64, 64))
