"""The backbone against diffusers' own FluxPipeline, which is the judge."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import FluxPipeline
from pydantic import ValidationError

from guardcore import Prompt
from guardcore_plugins.backbones.options import FluxOptions
from runs import rows, run

TOLERANCE = 1e-4
SHORT = "a red circle"
LONG = "a red circle left of two blue squares and " * 8
SIZES = [(64, 64), (32, 96), (128, 48)]


def largest_difference(ours, theirs):
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.01, "the judge's image is flat and can't tell anything"
    return (ours - theirs).abs().max().item()


@pytest.mark.parametrize("model", ["flux", "schnell"])
@pytest.mark.parametrize("guidance", [1.0, 3.5, 4.5])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_an_ode_sample_is_diffusers_image(
    model, guidance, height, width, make, judge, judged, sample, noise
):
    backbone = make(model, guidance_scale=guidance)
    latents = noise(backbone, 3, height, width)
    texts = [SHORT, LONG, "three green triangles"]
    ours = sample(backbone, texts, latents, height, width)
    theirs = judged(judge(model), texts, latents, height, width, guidance_scale=guidance)
    assert largest_difference(ours, theirs) < TOLERANCE


def test_a_velocity_in_half_precision_is_diffusers_own(make, judge, judged, noise):
    backbone = make("flux", dtype="bfloat16")
    latents = noise(backbone, 2, 64, 96).bfloat16()
    condition = backbone.encode([Prompt(SHORT), Prompt(LONG)], 64, 96)
    pipeline = judge("flux", torch_dtype=torch.bfloat16)
    seen = []
    pipeline.transformer.register_forward_hook(lambda _, __, output: seen.append(output[0]))
    judged(pipeline, [SHORT, LONG], latents, 64, 96, output_type="latent")
    sigma = backbone.schedule(4, 64, 96).sigmas[:1].expand(2)
    with torch.no_grad():
        assert torch.equal(backbone.velocity(latents, sigma, condition), seen[0])


def test_guidance_and_both_text_encoders_reach_the_image(make, sample, noise):
    backbone, bare = make("flux"), make("schnell")
    latents = noise(backbone, 1, 64, 64)

    def draw(backbone, guidance, text=SHORT):
        with backbone.guidance(guidance):
            return sample(backbone, [text], latents, 64, 64)

    assert largest_difference(draw(backbone, 1.0), draw(backbone, 3.5)) > TOLERANCE
    assert torch.equal(draw(bare, 1.0), draw(bare, 3.5))
    condition = backbone.encode([Prompt(SHORT)], 64, 64)
    sigma = torch.tensor([0.7])
    with torch.no_grad():
        before = backbone.velocity(latents, sigma, condition)
        for tensor in condition.tensors.values():
            kept = tensor.clone()
            tensor.zero_()
            assert (backbone.velocity(latents, sigma, condition) - before).abs().max() > 1e-5
            tensor.copy_(kept)


def test_another_guidance_holds_inside_the_context_only(make, judge, judged, sample, noise):
    backbone = make("flux", guidance_scale=1.0)
    latents = noise(backbone, 1, 64, 64)
    before = sample(backbone, [SHORT], latents, 64, 64)
    with backbone.guidance(7.0):
        inside = sample(backbone, [SHORT], latents, 64, 64)
    theirs = judged(judge("flux"), [SHORT], latents, 64, 64, guidance_scale=7.0)
    assert largest_difference(inside, theirs) < TOLERANCE
    assert torch.equal(sample(backbone, [SHORT], latents, 64, 64), before)


@pytest.mark.parametrize("model", ["flux", "schnell"])
@pytest.mark.parametrize("steps", [1, 4, 28])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_schedule_is_diffusers_to_the_last_bit(
    model, steps, height, width, make, judge, judged, noise
):
    backbone, pipeline = make(model), judge(model)
    latents = noise(backbone, 1, height, width)
    judged(
        pipeline, [SHORT], latents, height, width, num_inference_steps=steps, output_type="latent"
    )
    ours = backbone.schedule(steps, height, width).sigmas
    assert ours.dtype == torch.float32
    assert torch.equal(ours, pipeline.scheduler.sigmas)


def test_a_scheduler_with_flow_sigmas_keeps_its_own(make, judge, judged, noise):
    backbone, pipeline = make("flux"), judge("flux")
    for scheduler in (backbone.pipeline.scheduler, pipeline.scheduler):
        scheduler.register_to_config(use_flow_sigmas=True)
    judged(pipeline, [SHORT], noise(backbone, 1, 64, 64), 64, 64, output_type="latent")
    ours = backbone.schedule(4, 64, 64).sigmas
    assert torch.equal(ours, pipeline.scheduler.sigmas)
    assert not torch.equal(ours, make("flux").schedule(4, 64, 64).sigmas)


def test_a_dynamic_schedule_depends_on_the_size_and_a_fixed_one_does_not(make):
    dynamic, fixed = make("flux"), make("schnell")
    assert not torch.equal(dynamic.schedule(4, 64, 64).sigmas, dynamic.schedule(4, 128, 64).sigmas)
    assert torch.equal(fixed.schedule(4, 64, 64).sigmas, fixed.schedule(4, 128, 64).sigmas)


@pytest.mark.parametrize("size", [(64, 72), (60, 64), (0, 64)])
def test_a_size_that_the_model_cannot_draw_is_refused(size, make):
    backbone = make("flux")
    for call in (
        lambda: backbone.latent_shape(*size),
        lambda: backbone.schedule(4, *size),
        lambda: backbone.encode([Prompt(SHORT)], *size),
    ):
        with pytest.raises(ValueError, match=r"multiples of 16 pixels, received"):
            call()


def test_misfitting_rows_are_refused(make, noise):
    backbone = make("flux")
    condition = backbone.encode([Prompt(SHORT)], 64, 64)
    with pytest.raises(ValueError, match=r"x \[B, tokens, C\].*received \[2, 16, 16\], \[2\] and"):
        backbone.velocity(noise(backbone, 2, 64, 64), torch.tensor([0.5, 0.5]), condition)


def test_a_negative_prompt_is_refused_with_the_reason(models_on_disk):
    with pytest.raises(ValidationError, match="embedded guidance knows no negative prompt"):
        FluxOptions(model=str(models_on_disk["flux"]), negative_prompt="blurred")


def test_a_flux_without_t5_is_refused_and_diffusers_cannot_draw_with_one(
    models_on_disk, judge, tmp_path
):
    pipeline = judge("flux")
    parts = dict(pipeline.components) | {"text_encoder_2": None, "tokenizer_2": None}
    bare = FluxPipeline(**parts)
    bare.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())["text_encoder_2"] == [None, None]
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'tokenize'"):
        bare(prompt=SHORT, height=64, width=64, num_inference_steps=1)
    with pytest.raises(ValidationError, match="was saved without text_encoder_2, which the pipeli"):
        FluxOptions(model=str(tmp_path))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_passes_the_preflight_and_leaves_a_lora_for_diffusers(
    dtype, models_on_disk, judge, tmp_path
):
    backbone = {
        "use": "flux",
        "model": str(models_on_disk["flux"]),
        "max_sequence_length": 32,
        "dtype": dtype,
        "device": "cpu",
        "lora": {"rank": 2, "alpha": 4},
    }
    outcome = run(tmp_path / "run", backbone=backbone, train={"iterations": 2})
    assert outcome.finished
    first = [row for row in rows(tmp_path / "run", "steps") if row["update"] == 1]
    assert {row["ratio_mean"] for row in first} == {1.0}
    judge("flux").load_lora_weights(tmp_path / "run" / "adapter")


@pytest.mark.gpu
@pytest.mark.parametrize("guidance", [1.0, 3.5])
def test_on_cuda_an_ode_sample_is_diffusers_image(
    guidance, make, judge, judged, sample, noise, monkeypatch
):
    # TF32 convolutions, which torch allows by itself, differ by batch by 5e-4 in an image
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    backbone = make("flux", guidance_scale=guidance, device="cuda")
    latents = noise(backbone, 2, 64, 96)
    ours = sample(backbone, [SHORT, LONG], latents, 64, 96)
    pipeline = judge("flux").to("cuda")
    theirs = judged(pipeline, [SHORT, LONG], latents, 64, 96, guidance_scale=guidance)
    assert largest_difference(ours, theirs) < TOLERANCE
