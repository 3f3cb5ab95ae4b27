"""What is trained, what is not, and that the saved adapter is the field's own."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import SD3Transformer2DModel
from safetensors.torch import load_file

from guardcore import GuardcoreError, Prompt
from guardcore_plugins.backbones.lora import LORA_FILE

LORA = {"rank": 4, "alpha": 12}  # alpha/rank = 3: a reader that forgets alpha is seen
PROMPTS = [Prompt("a red circle"), Prompt("two blue squares")]
TEXTS = [prompt.text for prompt in PROMPTS]
MODELS = ["clip", "flux"]
MODES = [pytest.param(LORA, id="lora"), pytest.param(None, id="full")]


@pytest.fixture
def velocity(noise):
    def of(backbone):
        x, sigma = noise(backbone, 2, 64, 64), torch.tensor([0.8, 0.4])
        return backbone.velocity(x, sigma, backbone.encode(PROMPTS, 64, 64))

    return of


@pytest.mark.parametrize("model", MODELS)
@torch.no_grad()
def test_untrained_adapters_change_nothing(model, make, judge, judged, sample, noise):
    backbone = make(model, lora=LORA)
    latents = noise(backbone, 2, 64, 64)
    theirs = judged(judge(model), TEXTS, latents, 64, 64)
    assert (sample(backbone, TEXTS, latents, 64, 64) - theirs).abs().max() < 1e-4


@pytest.mark.parametrize("model", ["clip", "t5", "flux"])
def test_a_saved_lora_loaded_by_diffusers_draws_our_image(
    model, make, judge, judged, sample, noise, perturb, tmp_path
):
    backbone = make(model, lora=LORA)
    latents = noise(backbone, 2, 64, 64)
    untrained = sample(backbone, TEXTS, latents, 64, 64)
    perturb(backbone)
    ours = sample(backbone, TEXTS, latents, 64, 64)
    backbone.save_adapter(tmp_path)
    pipeline = judge(model)
    pipeline.load_lora_weights(tmp_path)
    theirs = judged(pipeline, TEXTS, latents, 64, 64)
    assert (ours - untrained).abs().max() > 0.05
    assert (ours - theirs).abs().max() < 1e-4


@pytest.mark.parametrize("model", MODELS)
def test_a_saved_full_transformer_loaded_by_diffusers_draws_our_image(
    model, make, judge, judged, sample, noise, perturb, tmp_path
):
    backbone = make(model, lora=None)
    latents = noise(backbone, 2, 64, 64)
    untrained = sample(backbone, TEXTS, latents, 64, 64)
    perturb(backbone)
    ours = sample(backbone, TEXTS, latents, 64, 64)
    backbone.save_adapter(tmp_path)
    transformer = type(backbone.pipeline.transformer).from_pretrained(tmp_path)
    pipeline = judge(model, transformer=transformer)
    theirs = judged(pipeline, TEXTS, latents, 64, 64)
    assert (ours - untrained).abs().max() > 0.05
    assert (ours - theirs).abs().max() < 1e-4


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("lora", MODES)
@torch.no_grad()
def test_load_adapter_restores_what_save_adapter_wrote(
    model, lora, make, velocity, perturb, tmp_path
):
    trained, fresh = make(model, lora=lora), make(model, lora=lora)
    perturb(trained)
    trained.save_adapter(tmp_path)
    assert not torch.equal(velocity(trained), velocity(fresh))
    fresh.load_adapter(tmp_path)
    assert torch.equal(velocity(trained), velocity(fresh))
    assert all(parameter.requires_grad for parameter in fresh.trainable().values())


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("lora", MODES)
@torch.no_grad()
def test_the_reference_is_the_model_before_training(
    model, lora, dtype, make, velocity, perturb, tmp_path
):
    backbone = make(model, lora=lora, dtype=dtype)
    base = velocity(backbone)
    perturb(backbone)
    trained = velocity(backbone)
    backbone.save_adapter(tmp_path)
    backbone.load_adapter(tmp_path)  # as after a resume
    with backbone.reference():
        assert torch.equal(velocity(backbone), base)
    assert torch.equal(velocity(backbone), trained)
    assert not torch.equal(trained, base)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("lora", MODES)
@torch.no_grad()
def test_the_reference_is_left_after_an_exception(model, lora, make, velocity, perturb):
    backbone = make(model, lora=lora)
    perturb(backbone)
    trained = velocity(backbone)
    with pytest.raises(KeyError), backbone.reference():
        raise KeyError
    assert torch.equal(velocity(backbone), trained)
    assert all(parameter.requires_grad for parameter in backbone.trainable().values())


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("lora", MODES)
def test_a_reference_between_forward_and_backward_leaves_the_gradient(
    model, lora, make, velocity, perturb
):
    backbone = make(model, lora=lora)
    perturb(backbone)
    parameters = list(backbone.trainable().values())
    expected = torch.autograd.grad(velocity(backbone).square().mean(), parameters)
    loss = velocity(backbone).square().mean()
    with torch.no_grad(), backbone.reference():
        velocity(backbone)
    for gradient, wanted in zip(torch.autograd.grad(loss, parameters), expected, strict=True):
        assert torch.equal(gradient, wanted)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("lora", MODES)
def test_only_what_is_trained_gets_a_finite_float32_gradient(
    model, lora, dtype, make, velocity, perturb
):
    backbone = make(model, lora=lora, dtype=dtype)
    perturb(backbone)
    velocity(backbone).float().square().mean().backward()
    trained = {id(parameter) for parameter in backbone.trainable().values()}
    for module in backbone.pipeline.components.values():
        if isinstance(module, torch.nn.Module):
            for parameter in module.parameters():
                assert (parameter.grad is not None) == (id(parameter) in trained)
                assert parameter.requires_grad == (id(parameter) in trained)
    for parameter in backbone.trainable().values():
        assert parameter.dtype == parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()
    assert sum(parameter.grad.abs().sum() for parameter in backbone.trainable().values()) > 0


@pytest.mark.parametrize("model", MODELS)
def test_the_base_of_float32_adapters_stays_in_half_precision(model, make):
    backbone = make(model, lora=LORA, dtype="bfloat16")
    trained = {id(parameter) for parameter in backbone.trainable().values()}
    frozen = [p for p in backbone.pipeline.transformer.parameters() if id(p) not in trained]
    assert {parameter.dtype for parameter in frozen} == {torch.bfloat16}


def test_an_update_moves_only_the_adapters(make, velocity):
    backbone = make(lora=LORA)
    before = {name: p.clone() for name, p in backbone.pipeline.transformer.named_parameters()}
    optimiser = torch.optim.AdamW(backbone.trainable().values(), lr=1e-2, weight_decay=0)
    for _ in range(2):
        velocity(backbone).square().mean().backward()
        optimiser.step()
    for name, parameter in backbone.pipeline.transformer.named_parameters():
        # the last block drops its text stream, so nothing depends on that stream's queries
        moves = "lora_" in name and not name.startswith("transformer_blocks.2.attn.add_q_proj")
        assert torch.equal(parameter, before[name]) != moves, name


def test_adapters_sit_on_both_streams_under_the_names_of_the_file(make, tmp_path):
    backbone = make(lora=LORA)
    names = backbone.trainable()
    layers = {name.split(".attn.")[1].rpartition(".lora_")[0] for name in names}
    assert layers == {"to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj",
                      "add_v_proj", "to_add_out"}  # fmt: skip
    assert not any("attn2" in name or "default" in name for name in names)
    backbone.save_adapter(tmp_path)
    assert set(load_file(tmp_path / LORA_FILE)) == {f"transformer.{name}" for name in names}


ATTENTION = {"attn.to_q", "attn.to_k", "attn.to_v"}
JOINT = ATTENTION | {
    "attn.to_out.0", "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out",
    "ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2",
}  # fmt: skip


def test_flux_adapters_are_flow_grpos_and_none_is_missed(make, tmp_path):
    backbone = make("flux", lora=LORA)
    adapted = {name.rpartition(".lora_")[0] for name in backbone.trainable()}
    joint = {f"transformer_blocks.{block}.{layer}" for block in range(2) for layer in JOINT}
    single = {f"single_transformer_blocks.{b}.{layer}" for b in range(2) for layer in ATTENTION}
    assert adapted == joint | single
    linear = {
        name.removesuffix(".base_layer")
        for name, module in backbone.pipeline.transformer.named_modules()
        if isinstance(module, torch.nn.Linear) and "lora_" not in name
    }
    left = {name for name in linear - adapted if "blocks." in name}
    assert {name.partition(".")[2].partition(".")[2] for name in left} == {
        "norm1.linear", "norm1_context.linear", "norm.linear", "proj_mlp", "proj_out",
    }  # fmt: skip
    backbone.save_adapter(tmp_path)
    assert set(load_file(tmp_path / LORA_FILE)) == {
        f"transformer.{name}" for name in backbone.trainable()
    }


def test_flux_targets_may_name_the_single_blocks_other_layers(make):
    targets = ["proj_mlp", "single_transformer_blocks.1.proj_out"]
    names = make("flux", lora=LORA | {"targets": targets}).trainable()
    assert {name.rpartition(".lora_")[0] for name in names} == {
        "single_transformer_blocks.0.proj_mlp",
        "single_transformer_blocks.1.proj_mlp",
        "single_transformer_blocks.1.proj_out",
    }


def test_every_adapter_of_flux_moves_in_an_update(make, velocity):
    backbone = make("flux", lora=LORA)
    before = {name: p.clone() for name, p in backbone.pipeline.transformer.named_parameters()}
    optimiser = torch.optim.AdamW(backbone.trainable().values(), lr=1e-2, weight_decay=0)
    for _ in range(2):
        velocity(backbone).square().mean().backward()
        optimiser.step()
    for name, parameter in backbone.pipeline.transformer.named_parameters():
        assert torch.equal(parameter, before[name]) != ("lora_" in name), name


def test_adapters_start_gaussian_and_closed(make):
    for name, parameter in make(lora={"rank": 16, "alpha": 16}).trainable().items():
        if "lora_B" in name:
            assert (parameter == 0).all()
        else:
            assert math.isclose(parameter.std().item(), 1 / 16, rel_tol=0.25)


@pytest.mark.parametrize("model", MODELS)
def test_full_fine_tuning_trains_the_whole_transformer(model, make):
    backbone = make(model, lora=None)
    assert set(backbone.trainable()) == set(dict(backbone.pipeline.transformer.named_parameters()))


@pytest.mark.parametrize("model", MODELS)
def test_the_network_draws_no_dropout(model, make):
    backbone = make(model, lora=LORA)
    assert not any(module.training for module in backbone.pipeline.transformer.modules())


def test_an_adapter_of_another_rank_is_refused(make, tmp_path):
    make(lora={"rank": 8, "alpha": 12}).save_adapter(tmp_path)
    with pytest.raises(GuardcoreError, match=r"fit this backbone: .* is \[8, 32\], not \[4"):
        make(lora=LORA).load_adapter(tmp_path)


def test_an_adapter_of_another_alpha_is_refused_with_the_remedy(make, tmp_path):
    make(lora={"rank": 4, "alpha": 4}).save_adapter(tmp_path)
    with pytest.raises(GuardcoreError, match=r"alpha 4, the backbone has 12; set backbone\.lora"):
        make(lora=LORA).load_adapter(tmp_path)


def test_an_adapter_of_other_layers_is_refused(make, tmp_path):
    make(lora=LORA | {"targets": ["attn.to_q"]}).save_adapter(tmp_path)
    with pytest.raises(GuardcoreError, match=r"no transformer_blocks\.0\.attn\.add_k_proj"):
        make(lora=LORA).load_adapter(tmp_path)


def test_a_damaged_or_missing_adapter_is_one_line(make, tmp_path):
    backbone = make(lora=LORA)
    with pytest.raises(GuardcoreError, match="cannot read a LoRA from"):
        backbone.load_adapter(tmp_path)
    (tmp_path / LORA_FILE).write_bytes(b"not safetensors")
    with pytest.raises(GuardcoreError, match=f"{LORA_FILE}: ") as caught:
        backbone.load_adapter(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_or_foreign_transformer_is_one_line(make, tmp_path):
    backbone = make(lora=None)
    with pytest.raises(GuardcoreError, match="cannot read a SD3Transformer2DModel from") as caught:
        backbone.load_adapter(tmp_path)
    assert "\n" not in str(caught.value)
    config = dict(backbone.pipeline.transformer.config) | {"num_layers": 1}
    SD3Transformer2DModel.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(GuardcoreError, match="does not fit this backbone: no transformer_blocks"):
        backbone.load_adapter(tmp_path)


@pytest.mark.parametrize("target", ["attn.to_x", "attn", "to_q.lora"])
def test_a_target_that_no_linear_layer_has_is_refused(target, make):
    with pytest.raises(GuardcoreError, match=rf"targets: no linear .* ends in '{target}'"):
        make(lora=LORA | {"targets": ["attn.to_q", target]})
