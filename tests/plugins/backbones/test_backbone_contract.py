"""Our backbones by the contract kit, and what is theirs: embeddings, sizes, silence, refusals."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError

from guardcore import Backbone, Prompt
from guardcore.option_fields import option_fields
from guardcore.plugins import installed
from guardcore.testing import check_backbone, check_component
from guardcore_plugins.backbones import embeddings
from guardcore_plugins.backbones.options import FluxOptions, SD3Options
from guardcore_plugins.backbones.plugin import sd3

MODELS = ["clip", "flux"]
SHORT = "a red circle"
LONG = "a red circle left of two blue squares and " * 8


CASES = [
    pytest.param(model, options, id=f"{model}-{name}")
    for model in ("clip", "t5", "flux", "schnell")
    for name, options in {
        "lora": {},
        "full": {"lora": None},
        "bfloat16": {"dtype": "bfloat16"},
    }.items()
]


@pytest.mark.parametrize(("model", "options"), CASES)
def test_it_keeps_the_contract(model, options, make):
    check_backbone(make(model, **options), height=32, width=64)


@pytest.mark.parametrize(("kind", "model"), [("sd3", "tiny-sd3"), ("flux", "tiny-flux")])
def test_the_embedded_models_keep_it_too(kind, model):
    check_component("backbone", kind)  # the first of its examples
    (example,) = installed().find("backbone", kind).options.model_fields["model"].examples
    assert example == model


def test_the_guidance_scale_comes_back_after_an_exception(make):
    backbone = make(guidance_scale=1.0)
    with pytest.raises(KeyError), backbone.guidance(7.0):
        raise KeyError
    assert "negative_prompt_embeds" not in backbone.encode([Prompt(SHORT)], 64, 64).tensors


def test_a_condition_encoded_without_guidance_is_refused_under_guidance(make, noise):
    backbone = make(guidance_scale=1.0)
    condition = backbone.encode([Prompt(SHORT)], 64, 64)
    with backbone.guidance(4.5), pytest.raises(ValueError, match="encoded without guidance"):
        backbone.velocity(noise(backbone, 1, 64, 64), torch.tensor([0.5]), condition)


@pytest.mark.parametrize("guidance", [1.0, 4.5])
def test_each_distinct_prompt_is_encoded_once(guidance, make, monkeypatch):
    backbone = make(guidance_scale=guidance, negative_prompt="blurred")
    seen = []
    encode_prompt = backbone.pipeline.encode_prompt

    def counted(prompt, **options):
        seen.append(prompt)
        return encode_prompt(prompt=prompt, **options)

    monkeypatch.setattr(backbone.pipeline, "encode_prompt", counted)
    for _ in range(3):
        backbone.encode([Prompt(SHORT), Prompt(LONG), Prompt(SHORT, {"tag": "x"})], 64, 64)
        backbone.encode([Prompt(LONG)], 32, 96)
    assert sorted(seen) == sorted([SHORT, LONG] + ["blurred"] * (guidance > 1))


@pytest.mark.parametrize("model", ["t5", "flux"])
def test_an_embedding_does_not_depend_on_the_prompts_beside_it(model, make):
    first, second = make(model), make(model)
    alone = first.encode([Prompt(SHORT)], 64, 64)
    beside = second.encode([Prompt(LONG), Prompt(SHORT), Prompt("x")], 64, 64).rows([1])
    for name, tensor in alone.tensors.items():
        assert torch.equal(tensor, beside.tensors[name])


def test_the_embedding_cache_drops_the_least_recently_used_above_its_limit():
    calls = []

    def encode(text):
        calls.append(text)
        return (torch.zeros(1, 25),)

    cache = embeddings.EmbeddingCache(encode, limit_bytes=200)
    for text in ["a", "b", "a", "c", "a", "b"]:
        assert cache(text)[0].shape == (1, 25)
    assert calls == ["a", "b", "c", "b"]
    assert len(cache) == 2


@pytest.mark.parametrize("model", ["t5", "flux"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_near_float32(dtype, model, make, noise):
    full, half = make(model), make(model, dtype=dtype)
    x, sigma = noise(full, 2, 64, 64), torch.tensor([0.9, 0.3])
    prompts = [Prompt(SHORT), Prompt(LONG)]
    with torch.no_grad():
        exact = full.velocity(x, sigma, full.encode(prompts, 64, 64))
        rounded = half.velocity(x, sigma, half.encode(prompts, 64, 64))
    assert (exact - rounded).abs().max() < 0.1 * exact.abs().max()
    assert half.decode(x, half.encode(prompts, 64, 64)).dtype == torch.float32


def test_it_is_a_backbone_by_contract(make):
    backbone = make()
    assert isinstance(backbone, Backbone)
    assert len(backbone.blocks()) == 3
    assert backbone.latent_shape(32, 96) == (4, 4, 12)


def test_flux_is_a_backbone_by_contract(make):
    backbone = make("flux")
    assert isinstance(backbone, Backbone)
    names = ["FluxTransformerBlock"] * 2 + ["FluxSingleTransformerBlock"] * 2
    assert [type(block).__name__ for block in backbone.blocks()] == names
    assert backbone.latent_shape(32, 96) == (2 * 6, 16)


@pytest.mark.parametrize("size", [(64, 72), (60, 64), (0, 64), (64, 144)])
def test_a_size_that_the_model_cannot_draw_is_refused(size, make):
    backbone = make()
    for call in (
        lambda: backbone.latent_shape(*size),
        lambda: backbone.schedule(4, *size),
        lambda: backbone.encode([Prompt(SHORT)], *size),
    ):
        with pytest.raises(ValueError, match=r"multiples of 16 up to 128 pixels, received"):
            call()


def test_misfitting_rows_are_refused(make, noise):
    backbone = make()
    condition = backbone.encode([Prompt(SHORT)], 64, 64)
    x = noise(backbone, 2, 64, 64)
    with pytest.raises(ValueError, match="condition of B rows, received"):
        backbone.velocity(x, torch.tensor([0.5, 0.5]), condition)
    with pytest.raises(ValueError, match=r"\[2, 4, 8, 8\], \[\] and 1 rows"):
        backbone.velocity(x, torch.tensor(0.5), condition)
    with pytest.raises(ValueError, match="no prompts"):
        backbone.encode([], 64, 64)


def test_loading_encoding_and_velocity_print_nothing(models_on_disk, tmp_path):
    script = f"""
import torch
from pathlib import Path
from guardcore import Prompt
from guardcore_plugins.backbones.options import FluxOptions, SD3Options
from guardcore_plugins.backbones.plugin import flux, sd3
for name, model in {[(name, str(path)) for name, path in models_on_disk.items()]!r}:
    factory, options = (sd3, SD3Options) if name in ("clip", "t5") else (flux, FluxOptions)
    for lora in ({{}}, None):
        backbone = factory(options(model=model, device="cpu", dtype="bfloat16", lora=lora))
        condition = backbone.encode([Prompt("a red circle " * 100)], 64, 64)
        x = torch.randn(1, *backbone.latent_shape(64, 64))
        velocity = backbone.velocity(x, torch.tensor([0.5]), condition)
        with backbone.reference():
            backbone.decode(velocity, condition)
        backbone.save_adapter({str(tmp_path)!r})
        backbone.load_adapter(Path({str(tmp_path)!r}))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_the_plugin_module_imports_nothing_heavy():
    script = """
import sys
import guardcore_plugins.backbones.plugin as plugin
plugin.guardcore_register_backbones(lambda name, factory: print(name))
print([name for name in ("torch", "diffusers", "transformers", "peft") if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout.split() == ["sd3", "flux", "[]"], result.stderr


def test_adapters_start_from_torchs_global_generator(models_on_disk):
    options = SD3Options(model=str(models_on_disk["clip"]), device="cpu")

    def start(seed):
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in sd3(options).trainable().values()])

    assert torch.equal(start(5), start(5))
    assert not torch.equal(start(5), start(6))


@pytest.mark.parametrize("options", [SD3Options, FluxOptions])
def test_every_option_is_described_and_the_model_is_required(options):
    assert all(field.description for field in option_fields(options))
    with pytest.raises(ValidationError, match=r"model\n  Field required"):
        options()
    assert options.model_json_schema()["required"] == ["model"]
