from pathlib import Path

import numpy as np
import pytest
import torch

from guardcore.evaluation import evaluate
from guardcore.inference import trained
from guardcore.layers import Overrides, parse_config
from guardcore_cli.loading import config_tree
from guardcore_plugins.backbones.source import locate
from guardcore_plugins.rewards.geneval import judge
from guardcore_plugins.tiny_world.drawing import draw
from guardcore_plugins.tiny_world.reader import read
from guardcore_plugins.tiny_world.scenes import TASKS, draw_scene

MEBIBYTE = 2**20


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
    folders = [locate("tiny-sd3"), locate("tiny-flux"), locate("tiny-sd3").parent / "preference"]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 25 * MEBIBYTE
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


def evaluated(profile, *assignments):
    """An embedded profile's own evaluation of the untrained model, with some keys set anew."""
    overrides = Overrides(assignments=assignments)
    with trained(parse_config(overrides.over(config_tree([Path(profile)]))), None) as run:
        return evaluate(run)


def strict(evaluation):
    return float((evaluation.scores[list(evaluation.scores)[-1]] == 1).double().mean())


@pytest.mark.slow
def test_held_out_scenes_are_followed_only_sometimes(shipped):
    assert 0.3 <= strict(evaluated(shipped)) <= 0.7


@pytest.mark.slow
def test_held_out_numbers_are_written_only_sometimes(shipped):
    pytest.importorskip("rapidocr_onnxruntime")
    few = "evaluate.num_images=128"
    digits = evaluated(shipped, "prompts.eval.task=digits", "reward=[ocr]", few)
    assert 0.3 <= strict(digits) <= 0.7


@pytest.mark.slow
def test_diffusers_default_padding_draws_as_well(shipped):
    few, lengths = "evaluate.num_images=96", {"tiny-sd3": (1, 256), "tiny-flux": (16, 512)}
    short, long = (
        strict(evaluated(shipped, few, f"backbone.max_sequence_length={n}"))
        for n in lengths[shipped]
    )
    assert long >= short - 0.15


@pytest.mark.slow
def test_guidance_makes_the_models_follow_more_often(shipped):
    few = "evaluate.num_images=96"
    without, guided = (
        strict(evaluated(shipped, few, f"backbone.guidance_scale={scale}")) for scale in (1, 3.5)
    )
    assert guided >= without + 0.05


@pytest.mark.slow
def test_samples_are_clean_shapes(shipped):
    source = "prompts.eval={use: tiny-world, split: eval, task: [colors], size: 64}"
    found = read(evaluated(shipped, source, "evaluate.grid=64").images)
    best = [max((detection.score for detection in seen), default=0.0) for seen in found]
    assert np.mean([score > 0.9 for score in best]) >= 0.8
