"""Drawn likeness: drawings are like drawings, spoilt ones less, and the base model in between."""

import time

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from pydantic import ValidationError

from guardcore import Prompt
from guardcore.binding import bind
from guardcore.layers import Overrides, parse_config
from guardcore.plugins import PluginHost
from guardcore_cli.loading import embedded_profile
from guardcore_plugins.tiny_world.appearance import GRAIN, describe
from guardcore_plugins.tiny_world.drawing import Mark, draw, paint
from guardcore_plugins.tiny_world.likeness import DrawnLikeness, drawings
from guardcore_plugins.tiny_world.plugin import DrawnLikenessOptions, drawn_likeness
from guardcore_plugins.tiny_world.prompts import GROUPS
from guardcore_plugins.tiny_world.scenes import PALETTE, TASKS, draw_scene
from guardcore_plugins.tiny_world.spoiling import SPOILERS, VISIBLE

GROUND = (242, 240, 236)


def as_images(pictures):
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255


def score(reward, pictures):
    return reward(as_images(pictures), [Prompt("a ring")] * len(pictures))


@pytest.fixture(scope="module")
def reward():
    return drawn_likeness(DrawnLikenessOptions())


@pytest.fixture(scope="module")
def held_out():
    generators = [np.random.default_rng([2, index]) for index in range(120)]
    return [
        draw(rng, draw_scene(rng, TASKS[index % len(TASKS)], "eval"))
        for index, rng in enumerate(generators)
    ]


def spoilt(kind, pictures):
    """The pictures, each spoilt as much as anybody would see."""
    results = []
    for index, (picture, other) in enumerate(zip(pictures, reversed(pictures), strict=True)):
        rng = np.random.default_rng([3, index])
        result = SPOILERS[kind](rng, picture, other)
        while np.abs(result.astype(float) - picture).mean() < VISIBLE:
            result = SPOILERS[kind](rng, picture, other)
        results.append(result)
    return results


def test_drawings_that_the_reference_never_saw_are_like_drawings(reward, held_out):
    scores = score(reward, held_out)
    assert scores.mean() >= 0.85
    assert scores.min() >= 0.6


@pytest.mark.parametrize("kind", SPOILERS)
def test_every_kind_of_damage_lowers_it(reward, held_out, kind):
    before, after = score(reward, held_out), score(reward, spoilt(kind, held_out))
    # to erase a whole shape leaves a drawing of the others
    unharmed = 0.25 if kind == "erased" else 0.02
    assert (after >= before).double().mean() <= unharmed
    assert after.mean() <= before.mean() - 0.2


def test_numbers_are_compared_with_numbers_on_request():
    rng = np.random.default_rng(4)
    numbers = [draw(rng, draw_scene(rng, "digits", "eval")) for _ in range(60)]
    scenes, digits, both = (DrawnLikeness(GROUPS[task], 2.0) for task in GROUPS)
    assert score(digits, numbers).mean() >= 0.85
    assert score(both, numbers).mean() >= 0.7
    assert score(scenes, numbers).mean() <= 0.5


def test_images_without_ink_are_unlike_and_finite(reward):
    flat = [np.full((64, 64, 3), level, np.uint8) for level in (0, 128, 242, 255)]
    assert (score(reward, flat) <= 0.25).all()
    assert (score(reward, flat) > 0).all()


def test_the_score_is_a_half_at_the_distance_asked_for(held_out):
    [picture] = spoilt("blobs", held_out[:1])
    distance = DrawnLikeness(TASKS, 2.0).distance(picture)
    assert score(DrawnLikeness(TASKS, distance), [picture]).tolist() == pytest.approx([0.5])


def test_the_reference_is_the_same_every_time_and_quick(reward, held_out):
    start = time.process_time()
    again = drawn_likeness(DrawnLikenessOptions())
    assert time.process_time() - start <= 5
    assert torch.equal(score(reward, held_out[:8]), score(again, held_out[:8]))
    assert all(
        np.array_equal(a, b) for a, b in zip(drawings(TASKS, 3), drawings(TASKS, 5), strict=False)
    )


def test_a_batch_scores_as_its_rows_do(reward, held_out):
    rows = torch.cat([score(reward, [picture]) for picture in held_out[:5]])
    assert torch.equal(score(reward, held_out[:5]), rows)
    assert rows.dtype == torch.float32
    reward.close()


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (1, 3, 64, 128)])
def test_other_sizes_than_the_drawings_are_refused(reward, shape):
    with pytest.raises(ValueError, match=r"expected images of 64×64 pixels"):
        reward(torch.zeros(shape), [Prompt("a ring")])


def test_other_shapes_of_tensor_and_numbers_of_prompts_are_refused(reward):
    with pytest.raises(ValueError, match=r"expected floating-point images"):
        reward(torch.zeros(3, 64, 64), [Prompt("a ring")])
    with pytest.raises(ValueError, match="expected one prompt an image"):
        reward(torch.zeros(2, 3, 64, 64), [Prompt("a ring")])


@pytest.mark.parametrize("options", [{"task": "faces"}, {"half": 0}, {"seed": 1}])
def test_bad_options_are_refused(options):
    with pytest.raises(ValidationError):
        DrawnLikenessOptions(**options)


def test_a_config_may_name_it_as_a_reward_that_is_only_watched():
    tree = Overrides(reward=["pickscore", "drawn-likeness:weight=0"]).over(embedded_profile())
    binding = bind(parse_config(tree), PluginHost.discover().registry)
    assert binding.rewards["drawn-likeness"].entry.qualified == "guardcore:drawn-likeness"


# The statistics on pictures whose values are known


def statistics(picture):
    return dict(zip(GRAIN, describe(picture), strict=True))


def with_blocks(*blocks):
    """A picture of rectangles: a colour, its rows and its columns each."""
    picture = np.full((64, 64, 3), GROUND, np.uint8)
    for color, rows, columns in blocks:
        picture[slice(*rows), slice(*columns)] = PALETTE[color]
    return picture


def test_a_block_in_its_place_has_the_statistics_that_can_be_counted():
    found = statistics(with_blocks(("red", (23, 41), (22, 42))))
    assert (found["low"], found["high"], found["narrow"], found["wide"]) == (18, 18, 20, 20)
    assert found["ink"] == 18 * 20 / 64**2
    assert found["brightness"] == pytest.approx(sum(GROUND) / 3)
    assert found["tint"] == 6
    for none in ("stain", "noise", "stray", "uneven", "halo", "off"):
        assert found[none] == 0


def test_the_smallest_and_the_largest_part_are_told_apart():
    found = statistics(with_blocks(("red", (6, 26), (6, 26)), ("blue", (47, 49), (44, 52))))
    assert (found["low"], found["high"], found["narrow"], found["wide"]) == (2, 20, 8, 20)


def test_a_block_out_of_its_place_is_off_by_that_much():
    assert statistics(with_blocks(("red", (26, 44), (22, 42))))["off"] == 3


def test_joined_blocks_are_wide_and_uneven_and_of_the_palette():
    found = statistics(with_blocks(("red", (22, 42), (14, 32)), ("black", (22, 42), (32, 50))))
    red, black = np.array(PALETTE["red"]), np.array(PALETTE["black"])
    assert found["wide"] == 36
    assert found["uneven"] == pytest.approx(np.linalg.norm(red - black) / 2)
    assert found["stray"] == 0


def test_a_colour_outside_of_the_palette_strays_by_its_distance():
    picture = with_blocks(("red", (22, 42), (22, 42)))
    picture[22:42, 22:42, 2] += 30
    found = statistics(picture)
    assert found["stray"] == pytest.approx(30)
    assert found["uneven"] == 0


def test_faint_pixels_around_the_ink_are_a_halo():
    picture = with_blocks(("red", (22, 42), (22, 42)))
    faint = picture.copy()
    faint[20:44, 20:44] = np.array(GROUND) - 20
    faint[22:42, 22:42] = PALETTE["red"]
    rim, ring = 4 * 20, 24 * 24 - 20 * 20  # what touches the ink's sides, and what is faint
    assert statistics(faint)["halo"] == pytest.approx(np.log1p(ring / rim))


def test_blurred_outlines_are_less_steep():
    picture = with_blocks(("red", (22, 42), (22, 42)))
    blurred = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(2)))
    assert statistics(blurred)["slope"] < 0.75 * statistics(picture)["slope"]


def test_noise_on_the_ground_is_measured_by_its_deviation():
    noise = np.random.default_rng(0).normal(0, 4, (64, 64, 3))
    picture = paint([Mark("circle", "red", 32, 32, 20)], (200, 200, 200))
    found = statistics((picture + noise).round().clip(0, 255).astype(np.uint8))
    assert found["noise"] == pytest.approx(4 / np.sqrt(3), rel=0.1)  # the channels' mean
    assert found["stain"] == pytest.approx(4 * np.sqrt(3), rel=0.1)
