"""A frozen base in 8 or 4 bit: bitsandbytes' own kernels, run for real on a CPU.

diffusers itself asks for a CUDA device before it quantises; here that question is not asked.
"""

from __future__ import annotations

import pytest
import torch

from guardcore import GuardcoreError, Prompt
from guardcore_plugins.backbones import loading, quantisation

PROMPTS = [Prompt("a red circle"), Prompt("two blue squares")]
MODELS = ["clip", "flux"]
BITS = ["8bit", "4bit"]


@pytest.fixture
def on_a_cpu(monkeypatch):
    pytest.importorskip("bitsandbytes", reason="the extra 'quantization' is not installed")
    from diffusers.quantizers.bitsandbytes import bnb_quantizer

    for quantizer in ("BnB4BitDiffusersQuantizer", "BnB8BitDiffusersQuantizer"):
        monkeypatch.setattr(
            getattr(bnb_quantizer, quantizer), "validate_environment", lambda *_, **__: None
        )
    monkeypatch.setattr(loading, "check_available", lambda device: None)


@pytest.fixture
def velocity(noise):
    def of(backbone):
        x, sigma = noise(backbone, 2, 64, 64), torch.tensor([0.8, 0.4])
        return backbone.velocity(x, sigma, backbone.encode(PROMPTS, 64, 64)).float()

    return of


@pytest.mark.usefixtures("on_a_cpu")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("model", MODELS)
def test_an_update_sees_the_rollouts_velocity_and_moves_only_adapters(
    model, bits, dtype, make, perturb, velocity
):
    backbone = make(model, quantization=bits, dtype=dtype, gradient_checkpointing=True)
    perturb(backbone)
    network = backbone.pipeline.transformer
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        rollout = velocity(backbone)
    update = velocity(backbone)
    assert torch.equal(rollout, update)
    optimiser = torch.optim.AdamW(backbone.trainable().values(), lr=1e-2, weight_decay=0)
    update.square().mean().backward()
    optimiser.step()
    changed = {name for name, t in network.state_dict().items() if not torch.equal(t, before[name])}
    assert changed
    assert all("lora_" in name for name in changed)
    assert {parameter.dtype for parameter in backbone.trainable().values()} == {torch.float32}


@pytest.mark.usefixtures("on_a_cpu")
@pytest.mark.parametrize(("bits", "near"), [("8bit", 0.05), ("4bit", 0.2)])
@torch.no_grad()
def test_rounding_the_base_changes_the_velocity_a_little(bits, near, make, velocity):
    whole = velocity(make(dtype="bfloat16"))
    rounded = velocity(make(quantization=bits, dtype="bfloat16"))
    assert 0 < (rounded - whole).norm() < near * whole.norm()


@pytest.mark.usefixtures("on_a_cpu")
@pytest.mark.parametrize(("bits", "dtype"), [("8bit", torch.int8), ("4bit", torch.uint8)])
def test_the_blocks_are_rounded_and_what_is_around_them_is_whole(bits, dtype, make):
    network = make(quantization=bits, dtype="bfloat16").pipeline.transformer
    weights = {name: p.dtype for name, p in network.named_parameters() if "lora_" not in name}
    linear = [n for n in weights if ".attn.to_q" in n or ".ff.net.2" in n]
    assert {weights[name] for name in linear if name.endswith("weight")} == {dtype}
    for name in ("context_embedder.weight", "norm_out.linear.weight", "pos_embed.proj.weight"):
        assert weights[name] == torch.bfloat16


@pytest.mark.usefixtures("on_a_cpu")
@torch.no_grad()
def test_the_adapter_of_a_rounded_base_is_an_ordinary_lora(make, perturb, velocity, tmp_path):
    rounded = make(quantization="4bit", dtype="bfloat16")
    perturb(rounded)
    rounded.save_adapter(tmp_path)
    whole = make(dtype="bfloat16")
    whole.load_adapter(tmp_path)
    assert (velocity(rounded) - velocity(whole)).norm() < 0.2 * velocity(whole).norm()


def test_a_missing_package_is_told_what_to_install(monkeypatch, make):
    monkeypatch.setattr(quantisation, "find_spec", lambda name: None)
    with pytest.raises(GuardcoreError, match=r"pip install 'guardcore\[quantization\]'"):
        make(quantization="4bit")


def test_a_cpu_is_told(monkeypatch, make):
    monkeypatch.setattr(quantisation, "find_spec", lambda name: object())
    with pytest.raises(GuardcoreError, match="on a CUDA device only, received 'cpu'"):
        make(quantization="8bit")
