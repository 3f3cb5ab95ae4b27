"""Training that goes on from somebody's LoRA."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from guardcore import GuardcoreError, Prompt
from guardcore_plugins.backbones.lora import LORA_FILE

LORA = {"rank": 4, "alpha": 12}
PROMPTS = [Prompt("a red circle"), Prompt("two blue squares")]


@pytest.fixture
def velocity(noise):
    def of(backbone):
        x, sigma = noise(backbone, 2, 64, 64), torch.tensor([0.8, 0.4])
        return backbone.velocity(x, sigma, backbone.encode(PROMPTS, 64, 64))

    return of


@pytest.fixture
def trained(make, perturb, tmp_path):
    """A backbone away from its start, its adapter in ``tmp_path / "lora"``."""
    backbone = make(lora=LORA)
    perturb(backbone)
    backbone.save_adapter(tmp_path / "lora")
    return backbone


def peft_directory(directory, trained, config=True):
    directory.mkdir()
    factors = {f"base_model.model.{name}": p.detach() for name, p in trained.trainable().items()}
    save_file(factors, directory / "adapter_model.safetensors")
    if config:
        (directory / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 12}))
    return directory


@torch.no_grad()
@pytest.mark.parametrize("place", ["lora", f"lora/{LORA_FILE}"])
def test_it_starts_where_the_lora_was(place, make, trained, velocity, tmp_path):
    started = make(lora=LORA | {"start": str(tmp_path / place)})
    assert torch.equal(velocity(started), velocity(trained))
    assert not torch.equal(velocity(started), velocity(make(lora=LORA)))


@torch.no_grad()
def test_peft_naming_is_read(make, trained, velocity, tmp_path):
    directory = peft_directory(tmp_path / "peft", trained)
    started = make(lora=LORA | {"start": str(directory)})
    assert torch.equal(velocity(started), velocity(trained))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@torch.no_grad()
def test_the_reference_is_the_model_with_the_starting_lora(
    dtype, make, trained, velocity, perturb, tmp_path
):
    started = make(lora=LORA | {"start": str(tmp_path / "lora")}, dtype=dtype)
    before = velocity(started)
    perturb(started)
    after = velocity(started)
    for _ in range(2):
        with started.reference():
            assert torch.equal(velocity(started), before)
        assert torch.equal(velocity(started), after)
    with pytest.raises(KeyError), started.reference():
        raise KeyError
    assert torch.equal(velocity(started), after)
    assert not torch.equal(after, before)


def test_a_reference_between_forward_and_backward_leaves_the_gradient(
    make, trained, velocity, perturb, tmp_path
):
    started = make(lora=LORA | {"start": str(tmp_path / "lora")})
    perturb(started)
    parameters = list(started.trainable().values())
    expected = torch.autograd.grad(velocity(started).square().mean(), parameters)
    loss = velocity(started).square().mean()
    with torch.no_grad(), started.reference():
        velocity(started)
    for gradient, wanted in zip(torch.autograd.grad(loss, parameters), expected, strict=True):
        assert torch.equal(gradient, wanted)


def test_another_rank_alpha_or_layer_is_one_line(make, trained, tmp_path):
    start = {"start": str(tmp_path / "lora")}
    with pytest.raises(GuardcoreError, match=r"alpha 12, .* set backbone\.lora\.alpha=12"):
        make(lora=LORA | start | {"alpha": 4})
    with pytest.raises(
        GuardcoreError, match=r"does not fit this backbone: .* is \[4, 32\]"
    ) as rank:
        make(lora=LORA | start | {"rank": 8})
    with pytest.raises(GuardcoreError, match="unexpected transformer_blocks") as layers:
        make(lora=LORA | start | {"targets": ["attn.to_q"]})
    assert all("\n" not in str(caught.value) for caught in (rank, layers))


def test_a_lora_that_does_not_say_its_alpha_has_its_rank(make, trained, tmp_path):
    directory = peft_directory(tmp_path / "silent", trained, config=False)
    make(lora={"rank": 4, "alpha": 4, "start": str(directory)})
    with pytest.raises(GuardcoreError, match="alpha 4, the backbone has 12"):
        make(lora=LORA | {"start": str(directory)})


def test_a_damaged_lora_is_one_line(make, tmp_path):
    (tmp_path / LORA_FILE).write_bytes(b"not safetensors")
    with pytest.raises(GuardcoreError, match="cannot read a LoRA from") as caught:
        make(lora=LORA | {"start": str(tmp_path)})
    assert "\n" not in str(caught.value)


def test_what_it_saves_is_what_it_trained(make, trained, perturb, tmp_path):
    started = make(lora=LORA | {"start": str(tmp_path / "lora")})
    perturb(started)
    with started.reference():
        pass
    started.save_adapter(tmp_path / "out")
    stored = load_file(tmp_path / "out" / LORA_FILE)
    for name, parameter in started.trainable().items():
        assert torch.equal(stored[f"transformer.{name}"], parameter)
