"""The backbone against diffusers' own StableDiffusion3Pipeline, which is the judge."""

from __future__ import annotations

import pytest
import torch

from guardcore import Prompt
from guardcore_plugins.backbones.source import locate

TOLERANCE = 1e-4
SHORT = "a red circle"
LONG = "a red circle left of two blue squares and " * 8
SIZES = [(64, 64), (32, 96), (128, 48)]


def largest_difference(ours, theirs):
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.01, "the judge's image is flat and can't tell anything"
    return (ours - theirs).abs().max().item()


@pytest.mark.parametrize("model", ["clip", "t5"])
@pytest.mark.parametrize("guidance", [1.0, 4.5])
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


@pytest.mark.parametrize("model", ["clip", "t5"])
def test_a_negative_prompt_is_diffusers_negative_prompt(model, make, judge, judged, sample, noise):
    backbone = make(model, negative_prompt="two blue squares", max_sequence_length=20)
    latents = noise(backbone, 2, 64, 64)
    options = {"guidance_scale": 4.5, "max_sequence_length": 20}
    ours = sample(backbone, [SHORT, LONG], latents, 64, 64)
    theirs = judged(
        judge(model),
        [SHORT, LONG],
        latents,
        64,
        64,
        negative_prompt=["two blue squares"] * 2,
        **options,
    )
    without = judged(judge(model), [SHORT, LONG], latents, 64, 64, **options)
    assert largest_difference(ours, theirs) < TOLERANCE
    assert largest_difference(ours, without) > TOLERANCE


@pytest.mark.parametrize("guidance", [1.0, 4.5])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 80)])
def test_the_embedded_model_draws_diffusers_image(
    guidance, height, width, make, judge, judged, sample, noise
):
    directory = locate("tiny-sd3")
    assert directory is not None
    assert (directory / "model_index.json").is_file(), f"{directory} is not built yet"
    backbone = make("tiny-sd3", guidance_scale=guidance, max_sequence_length=1)
    latents = noise(backbone, 2, height, width)
    texts = ["a red circle", 'the number "407"']
    ours = sample(backbone, texts, latents, height, width)
    theirs = judged(
        judge(directory, torch_dtype=torch.float32),
        texts,
        latents,
        height,
        width,
        guidance_scale=guidance,
        max_sequence_length=1,
    )
    assert largest_difference(ours, theirs) < TOLERANCE


@pytest.mark.parametrize("model", ["clip", "t5"])
@pytest.mark.parametrize("steps", [1, 4, 28])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_schedule_is_diffusers_to_the_last_bit(
    model, steps, height, width, make, judge, judged, noise
):
    backbone = make(model)
    pipeline = judge(model)
    latents = noise(backbone, 1, height, width)
    judged(
        pipeline, [SHORT], latents, height, width, num_inference_steps=steps, output_type="latent"
    )
    ours = backbone.schedule(steps, height, width).sigmas
    assert ours.dtype == torch.float32
    assert ours[-1] == 0
    assert torch.equal(ours, pipeline.scheduler.sigmas)


def test_a_dynamic_schedule_depends_on_the_size_and_a_fixed_one_does_not(make):
    dynamic, fixed = make("t5"), make("clip")
    assert not torch.equal(dynamic.schedule(4, 64, 64).sigmas, dynamic.schedule(4, 128, 64).sigmas)
    assert torch.equal(fixed.schedule(4, 64, 64).sigmas, fixed.schedule(4, 128, 64).sigmas)


def test_making_a_schedule_leaves_the_pipelines_scheduler_alone(make):
    backbone = make()
    before = backbone.pipeline.scheduler.sigmas.clone()
    backbone.schedule(4, 64, 64)
    assert torch.equal(backbone.pipeline.scheduler.sigmas, before)


def test_guidance_is_one_batch_that_equals_two_forwards(make, noise):
    backbone = make(guidance_scale=4.5)
    x, sigma = noise(backbone, 2, 64, 64), torch.tensor([0.9, 0.3])
    condition = backbone.encode([Prompt(SHORT), Prompt(LONG)], 64, 64)
    batches = []
    hook = backbone.pipeline.transformer.register_forward_pre_hook(
        lambda _, __, inputs: batches.append(len(inputs["hidden_states"])), with_kwargs=True
    )
    with torch.no_grad():
        guided = backbone.velocity(x, sigma, condition)
        assert batches == [4]
        hook.remove()
        with backbone.guidance(1.0):
            positive = backbone.velocity(x, sigma, condition)
            empty = backbone.encode([Prompt(""), Prompt("")], 64, 64)
            negative = backbone.velocity(x, sigma, empty)
    torch.testing.assert_close(guided, negative + 4.5 * (positive - negative), atol=1e-5, rtol=1e-5)


def test_another_guidance_scale_holds_inside_the_context_only(make, judge, judged, sample, noise):
    backbone = make(guidance_scale=1.0)
    latents = noise(backbone, 1, 64, 64)
    before = sample(backbone, [SHORT], latents, 64, 64)
    with backbone.guidance(7.0):
        inside = sample(backbone, [SHORT], latents, 64, 64)
    theirs = judged(judge(), [SHORT], latents, 64, 64, guidance_scale=7.0)
    assert largest_difference(inside, theirs) < TOLERANCE
    assert torch.equal(sample(backbone, [SHORT], latents, 64, 64), before)


@pytest.mark.gpu
@pytest.mark.parametrize("guidance", [1.0, 4.5])
def test_on_cuda_an_ode_sample_is_diffusers_image(
    guidance, make, judge, judged, sample, noise, monkeypatch
):
    # TF32 convolutions, which torch allows by itself, differ by batch by 5e-4 in an image
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    backbone = make("t5", guidance_scale=guidance, device="cuda")
    latents = noise(backbone, 2, 64, 96)
    ours = sample(backbone, [SHORT, LONG], latents, 64, 96)
    pipeline = judge("t5").to("cuda")
    theirs = judged(pipeline, [SHORT, LONG], latents, 64, 96, guidance_scale=guidance)
    assert backbone.schedule(4, 64, 96).sigmas.device.type == "cuda"
    assert largest_difference(ours, theirs) < TOLERANCE


def test_a_large_batch_decodes_to_the_images_of_small_ones(make, noise):
    backbone = make("clip", decode_batch=4)
    latents = noise(backbone, 2 * 4 + 1, 32, 32)
    condition = backbone.encode([Prompt(SHORT)] * len(latents), 32, 32)
    together = backbone.decode(latents, condition)
    apart = torch.cat([backbone.decode(row[None], condition.rows([0])) for row in latents])
    assert largest_difference(together, apart) < TOLERANCE
