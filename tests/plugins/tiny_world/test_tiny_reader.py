import numpy as np
import pytest
import torch

from guardcore_plugins.rewards.geneval import judge
from guardcore_plugins.tiny_world.drawing import Mark, draw, paint
from guardcore_plugins.tiny_world.reader import read
from guardcore_plugins.tiny_world.scenes import PALETTE, PLURALS, TASKS, draw_scene, mistake

GROUND = (242, 240, 236)


def as_images(pictures):
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255


@pytest.mark.parametrize("tag", TASKS)
def test_drawn_scenes_are_read_right_and_wrong_captions_refused(tag):
    rng = np.random.default_rng(7)
    scenes = [draw_scene(rng, tag, "eval") for _ in range(100)]
    found = read(as_images([draw(rng, scene) for scene in scenes]))
    right = [judge(s.metadata(), f).correct for s, f in zip(scenes, found, strict=True)]
    wrong = [
        judge(mistake(rng, s).metadata(), f).correct for s, f in zip(scenes, found, strict=True)
    ]
    assert sum(right) >= 99
    # A mistaken caption can still be true: a diagonal is left of and above.
    assert sum(wrong) <= (10 if tag == "position" else 1)


@pytest.mark.parametrize("shape", PLURALS)
@pytest.mark.parametrize("color", PALETTE)
def test_a_shape_has_its_kind_colour_box_and_a_high_score(shape, color):
    picture = paint([Mark(shape, color, 30.0, 34.0, 20.0)], GROUND)
    (detection,) = read(as_images([picture]))[0]
    assert (detection.label, detection.color) == (shape, color)
    assert detection.score > 0.9
    expected = (20, 24, 40, 44)
    assert all(abs(a - b) <= 2.01 for a, b in zip(detection.box, expected, strict=True))


def test_an_empty_picture_holds_nothing():
    assert read(torch.full((2, 3, 64, 64), 0.95)) == [[], []]


def test_a_blob_scores_low():
    picture = paint([Mark("circle", "red", 24, 32, 20), Mark("square", "red", 36, 40, 16)], GROUND)
    (detection,) = read(as_images([picture]))[0]
    assert detection.score < 0.5


def test_noise_is_read_without_failing():
    noise = torch.rand(4, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    assert all(0 <= d.score <= 1 for found in read(noise) for d in found)


def test_other_shapes_of_tensor_are_refused():
    with pytest.raises(ValueError, match=r"expected images \[B, 3, H, W\], got \(3, 64, 64\)"):
        read(torch.zeros(3, 64, 64))
