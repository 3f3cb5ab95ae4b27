import numpy as np
import pytest
import torch

from guardcore_plugins.rewards.geneval import judge
from guardcore_plugins.tiny_world.drawing import draw
from guardcore_plugins.tiny_world.evaluate import SHIPPED, accuracy, load, sample
from guardcore_plugins.tiny_world.reader import read
from guardcore_plugins.tiny_world.scenes import DIGITS, TASKS, draw_scene

MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def pipeline():
    return load()


@torch.no_grad()
def round_trip(vae, images):
    latents = vae.encode(2 * images - 1).latent_dist.mode()
    return (vae.decode(latents).sample / 2 + 0.5).clamp(0, 1), latents


def pictures(size):
    rng = np.random.default_rng(11)
    scenes = [draw_scene(rng, TASKS[k % len(TASKS)], "eval") for k in range(size)]
    drawn = np.stack([draw(rng, scene) for scene in scenes])
    return scenes, torch.from_numpy(drawn).permute(0, 3, 1, 2) / 255


def test_the_assets_are_small_and_hold_no_pickle():
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 15 * MEBIBYTE
    assert {path.suffix for path in files} == {".json", ".safetensors"}


def test_the_autoencoder_keeps_the_readers_verdict(pipeline):
    scenes, images = pictures(240)
    decoded, _ = round_trip(pipeline.vae, images)
    pairs = zip(scenes, read(decoded), strict=True)
    right = sum(judge(scene.metadata(), found).correct for scene, found in pairs)
    assert right / len(scenes) >= 0.97


def test_latents_are_about_unit(pipeline):
    _, latents = round_trip(pipeline.vae, pictures(60)[1])
    config = pipeline.vae.config
    scaled = (latents - config.shift_factor) * config.scaling_factor
    assert abs(float(scaled.mean())) < 0.1
    assert float(scaled.std()) == pytest.approx(1, abs=0.1)


def test_other_sizes_can_be_drawn(pipeline):
    output = pipeline("a red circle", height=64, width=96, num_inference_steps=2, output_type="pt")
    assert output.images.shape == (1, 3, 64, 96)


@pytest.mark.slow
def test_held_out_scenes_are_followed_only_sometimes(pipeline):
    result = accuracy(pipeline, TASKS, 64, 20, guidance=3.0)
    strict = [result[tag][0] for tag in TASKS]
    assert 0.3 <= sum(strict) / len(strict) <= 0.7


@pytest.mark.slow
def test_held_out_numbers_are_written_only_sometimes(pipeline):
    pytest.importorskip("rapidocr_onnxruntime")
    assert 0.3 <= accuracy(pipeline, [DIGITS], 128, 28)[DIGITS][0] <= 0.7


@pytest.mark.slow
def test_diffusers_default_padding_draws_as_well(pipeline):
    short = accuracy(pipeline, ["colors"], 96, 10, padding=1)["colors"][0]
    long = accuracy(pipeline, ["colors"], 96, 10, padding=256)["colors"][0]
    assert long >= short - 0.15


@pytest.mark.slow
def test_samples_are_clean_shapes(pipeline):
    images = sample(pipeline, ["a blue circle", "a red square", "a green triangle"] * 16, 10)
    best = [max((d.score for d in found), default=0.0) for found in read(images)]
    assert np.mean([score > 0.9 for score in best]) >= 0.8
