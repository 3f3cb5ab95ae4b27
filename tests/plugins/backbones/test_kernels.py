"""Attention backends and compiled blocks."""

from __future__ import annotations

import pytest
import torch

from guardcore import GuardcoreError, Prompt
from guardcore_plugins.backbones import kernels

PROMPTS = [Prompt("a red circle"), Prompt("two blue squares")]


@pytest.fixture
def learn(noise, perturb):
    def of(backbone):
        perturb(backbone)
        x, sigma = noise(backbone, 2, 64, 64), torch.tensor([0.8, 0.4])
        condition = backbone.encode(PROMPTS, 64, 64)
        with torch.no_grad():
            rollout = backbone.velocity(x, sigma, condition)
        update = backbone.velocity(x, sigma, condition)
        parameters = list(backbone.trainable().values())
        gradients = torch.autograd.grad(update.float().square().mean(), parameters)
        assert not rollout.requires_grad
        return rollout, update.detach(), gradients

    return of


@pytest.mark.parametrize(
    ("model", "checkpointing"), [("clip", False), ("clip", True), ("flux", True)]
)
def test_compiled_blocks_give_the_update_the_rollouts_velocity(model, checkpointing, make, learn):
    """In bfloat16, where torch's two graphs of one block differ in the second digit."""
    torch.compiler.reset()
    plain = learn(make(model, dtype="bfloat16"))
    compiled = learn(
        make(model, dtype="bfloat16", compile=True, gradient_checkpointing=checkpointing)
    )
    assert torch.equal(compiled[0], compiled[1])
    assert (compiled[1] - plain[1]).abs().max() < 0.1 * plain[1].abs().max()
    for ours, theirs in zip(compiled[2], plain[2], strict=True):
        assert (ours - theirs).norm() <= 0.1 * theirs.norm() + 1e-6


def test_a_missing_compiler_is_told(monkeypatch, make):
    monkeypatch.setattr(kernels.shutil, "which", lambda name: None)
    with pytest.raises(GuardcoreError, match=r"torch\.compile on cpu needs a C\+\+ compiler"):
        make(compile=True)


@pytest.mark.parametrize("backend", ["flush", "sage"])
def test_an_unusable_attention_backend_is_told_what_there_is(backend, make):
    with pytest.raises(GuardcoreError, match=rf"attention: '{backend}' .*; there are .*flash") as e:
        make(attention=backend)
    assert "\n" not in str(e.value)


def test_sd3s_attention_cannot_be_switched_and_says_so(make):
    with pytest.raises(GuardcoreError, match="has no switch for a SD3Transformer2DModel"):
        make(attention="native")


@pytest.fixture
def registry():
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry as Registry

    before = Registry._active_backend
    yield Registry
    Registry.set_active_backend(before)


def test_fluxs_attention_is_switched(make, learn, registry):
    plain, switched = learn(make("flux")), make("flux", attention="_native_math")
    rollout, update, _ = learn(switched)
    assert torch.equal(rollout, update)
    torch.testing.assert_close(update, plain[1], atol=1e-5, rtol=1e-5)
    network = switched.pipeline.transformer
    processors = {p._attention_backend.value for p in network.attn_processors.values()}
    assert processors == {"_native_math"}


def test_a_missing_kernel_package_is_one_line(make, registry):
    from diffusers.models import attention_dispatch

    if attention_dispatch._CAN_USE_FLASH_ATTN:
        pytest.skip("flash-attn is installed")
    with pytest.raises(
        GuardcoreError, match=r"backbone\.attention: .*install `flash-attn"
    ) as caught:
        make("flux", attention="flash")
    assert "\n" not in str(caught.value)
