"""What is exported draws the same image where it is loaded: diffusers, ComfyUI, a whole pipeline."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from comfyui import apply, places
from guardcore import GuardcoreError
from guardcore_plugins.backbones.exporting import COMFYUI_FILE, FORMATS

LORA = {"rank": 4, "alpha": 12}  # alpha/rank = 3: a reader that forgets alpha is seen
TEXTS = ["a red circle", "two blue squares"]
MODELS = ["clip", "t5", "flux", "schnell"]
TARGETS = {  # beyond the defaults: all that ComfyUI's mapping knows in a block
    "clip": ["attn.to_q", "attn2.to_k", "attn2.to_out.0", "ff.net.0.proj", "ff_context.net.2"],
    "flux": ["to_k", "proj_mlp", "single_transformer_blocks.1.proj_out", "ff.net.2"],
}


@pytest.fixture
def trained(make, perturb, noise, sample):
    """A backbone with moved weights, start latents, and the image that it draws of them."""

    def train(model, lora):
        backbone = make(model, lora=lora)
        latents = noise(backbone, 2, 64, 64)
        untrained = sample(backbone, TEXTS, latents, 64, 64)
        perturb(backbone)
        image = sample(backbone, TEXTS, latents, 64, 64)
        assert (image - untrained).abs().max() > 0.05
        return backbone, latents, image

    return train


@pytest.mark.parametrize("model", MODELS)
def test_a_diffusers_lora_draws_our_image(model, trained, judge, judged, tmp_path):
    backbone, latents, ours = trained(model, LORA)
    assert backbone.export(tmp_path, "diffusers") == "pipeline.load_lora_weights"
    pipeline = judge(model)
    pipeline.load_lora_weights(tmp_path)
    assert (judged(pipeline, TEXTS, latents, 64, 64) - ours).abs().max() < 1e-4


@pytest.mark.parametrize("model", MODELS)
def test_a_comfyui_lora_merged_by_its_formula_draws_our_image(
    model, trained, judge, judged, tmp_path
):
    backbone, latents, ours = trained(model, LORA)
    backbone.export(tmp_path, "comfyui")
    pipeline = judge(model)
    assert apply(load_file(tmp_path / COMFYUI_FILE), pipeline.transformer) == []
    assert (judged(pipeline, TEXTS, latents, 64, 64) - ours).abs().max() < 1e-4


@pytest.mark.parametrize("model", ["clip", "flux"])
def test_comfyui_knows_the_names_of_other_targets_too(model, trained, judge, judged, tmp_path):
    backbone, latents, ours = trained(model, LORA | {"targets": TARGETS[model]})
    backbone.export(tmp_path, "comfyui")
    pipeline = judge(model)
    assert apply(load_file(tmp_path / COMFYUI_FILE), pipeline.transformer) == []
    assert (judged(pipeline, TEXTS, latents, 64, 64) - ours).abs().max() < 1e-4


@pytest.mark.parametrize("model", ["clip", "flux"])
def test_comfyui_finds_alpha_beside_the_factors_and_every_adapted_layer(model, make, tmp_path):
    backbone = make(model, lora=LORA)
    backbone.export(tmp_path, "comfyui")
    tensors = load_file(tmp_path / COMFYUI_FILE)
    adapted = {name.rpartition(".lora_")[0] for name in backbone.trainable()}
    assert adapted <= set(places(type(backbone.pipeline.transformer).from_config(
        backbone.pipeline.transformer.config)))  # fmt: skip
    assert set(tensors) == {
        f"transformer.{layer}.{end}"
        for layer in adapted
        for end in ("lora_A.weight", "lora_B.weight", "alpha")
    }
    assert {tensor.item() for name, tensor in tensors.items() if name.endswith("alpha")} == {12.0}


def test_the_formula_sees_a_lost_alpha_and_names_that_comfyui_does_not_know(
    trained, judge, judged, tmp_path
):
    backbone, latents, ours = trained("flux", LORA)
    backbone.export(tmp_path, "comfyui")
    file = load_file(tmp_path / COMFYUI_FILE)
    without = {name: tensor for name, tensor in file.items() if not name.endswith("alpha")}
    pipeline = judge("flux")
    assert apply(without, pipeline.transformer) == []
    assert (judged(pipeline, TEXTS, latents, 64, 64) - ours).abs().max() > 1e-3
    peft = {name.replace("transformer.", "base_model.model.", 1): t for name, t in file.items()}
    assert apply(peft, judge("flux").transformer) == sorted(peft)


@pytest.mark.parametrize("lora", [pytest.param(LORA, id="lora"), pytest.param(None, id="full")])
@pytest.mark.parametrize("model", MODELS)
def test_a_merged_pipeline_draws_our_image(model, lora, trained, judge, judged, tmp_path):
    backbone, latents, ours = trained(model, lora)
    usage = backbone.export(tmp_path, "merged")
    assert usage == f"{type(backbone.pipeline).__name__}.from_pretrained"
    pipeline = judge(tmp_path)
    assert not any("lora" in name for name, _ in pipeline.transformer.named_parameters())
    assert (judged(pipeline, TEXTS, latents, 64, 64) - ours).abs().max() < 1e-4


def test_a_merged_pipeline_is_whole_and_tells_no_path(make, models_on_disk, tmp_path):
    source = models_on_disk["clip"]
    make("clip", lora=LORA).export(tmp_path, "merged")
    listing = {path.relative_to(source) for path in source.rglob("*")}
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*")} == listing
    encoder = "text_encoder/model.safetensors"
    assert (tmp_path / encoder).read_bytes() == (source / encoder).read_bytes()
    assert str(source) not in (tmp_path / "transformer" / "config.json").read_text()


def test_merging_leaves_the_backbone_as_it_is(trained, sample, tmp_path):
    backbone, latents, before = trained("flux", LORA)
    backbone.export(tmp_path, "merged")
    assert torch.equal(sample(backbone, TEXTS, latents, 64, 64), before)
    with backbone.reference():
        assert (sample(backbone, TEXTS, latents, 64, 64) - before).abs().max() > 0.05


def test_a_half_precision_base_is_merged_in_half_rounded_once(make, perturb, tmp_path):
    backbone = make("flux", lora=LORA, dtype="bfloat16")
    perturb(backbone)
    backbone.export(tmp_path, "merged")
    file = load_file(tmp_path / "transformer" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in file.values()} == {torch.bfloat16}
    layer = "single_transformer_blocks.0.attn.to_q"
    factors = backbone.trainable()
    up, down = (factors[f"{layer}.lora_{factor}.weight"].detach() for factor in "BA")
    base = backbone.pipeline.transformer.get_submodule(layer).base_layer.weight
    expected = (base.float() + 3 * up @ down).bfloat16()
    assert torch.equal(file[f"{layer}.weight"], expected)


def test_a_quantised_base_is_not_merged(make, tmp_path):
    backbone = make("flux", lora=LORA)
    layer = backbone.pipeline.transformer.get_submodule("transformer_blocks.0.attn.to_q")
    bytes_ = layer.base_layer.weight.detach().to(torch.int8)
    layer.base_layer.weight = torch.nn.Parameter(bytes_, requires_grad=False)
    with pytest.raises(GuardcoreError, match=r"to_q is quantised \(torch\.int8\); add --set"):
        backbone.export(tmp_path, "merged")


def test_a_whole_transformer_is_exported_to_diffusers_and_not_as_a_lora(
    trained, judge, judged, tmp_path
):
    backbone, latents, ours = trained("flux", None)
    assert backbone.export(tmp_path, "diffusers") == "FluxTransformer2DModel.from_pretrained"
    transformer = type(backbone.pipeline.transformer).from_pretrained(tmp_path)
    theirs = judged(judge("flux", transformer=transformer), TEXTS, latents, 64, 64)
    assert (theirs - ours).abs().max() < 1e-4
    with pytest.raises(GuardcoreError, match="comfyui writes a LoRA, and this run trained the who"):
        backbone.export(tmp_path, "comfyui")


def test_another_format_is_told_what_there_is(make, tmp_path):
    with pytest.raises(GuardcoreError, match=f"'onnx': this backbone writes {', '.join(FORMATS)}"):
        make().export(tmp_path, "onnx")


def test_a_pipeline_merged_from_one_without_t5_stays_without(make, tmp_path, models_on_disk):
    source = shutil.copytree(models_on_disk["clip"], tmp_path / "model")
    (source / "sd3_checkpoint.safetensors").write_bytes(b"a file that is no component")
    out = tmp_path / "out"
    out.mkdir()
    make(str(source), lora=LORA).export(out, "merged")
    assert not (out / "sd3_checkpoint.safetensors").exists()
    index = json.loads((out / "model_index.json").read_text())
    assert index["text_encoder_3"] == [None, None]
    absent = {"text_encoder_3": None, "tokenizer_3": None}
    assert DiffusionPipeline.from_pretrained(out, **absent).transformer is not None
