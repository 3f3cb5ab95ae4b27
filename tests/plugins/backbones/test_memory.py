"""Less memory, the same numbers: gradients, weights off the device, small decodes."""

from __future__ import annotations

import pytest
import torch
from diffusers.hooks.group_offloading import ModuleGroup

from guardcore import Prompt
from guardcore_plugins.backbones.offloading import offload_group

PROMPTS = [Prompt("a red circle"), Prompt("two blue squares")]
MODELS = ["clip", "flux"]
DTYPES = ["float32", "bfloat16", "float16"]
OFFLOADED = {"offload": "blocks", "gradient_checkpointing": True}


@pytest.fixture
def learn(noise, perturb):
    """A backbone moved away from its start: its velocity without and with gradients, and these."""

    def of(backbone):
        perturb(backbone)
        x, sigma = noise(backbone, 2, 64, 64), torch.tensor([0.8, 0.4])
        condition = backbone.encode(PROMPTS, 64, 64)
        with torch.no_grad():
            rollout = backbone.velocity(x, sigma, condition)
        update = backbone.velocity(x, sigma, condition)
        parameters = list(backbone.trainable().values())
        gradients = torch.autograd.grad(update.float().square().mean(), parameters)
        return rollout, update.detach(), gradients

    return of


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lora", [{"rank": 4, "alpha": 12}, None], ids=["lora", "full"])
def test_an_update_sees_the_velocity_of_the_rollout_to_the_last_bit(
    model, lora, dtype, make, learn
):
    rollout, update, _ = learn(make(model, lora=lora, dtype=dtype))
    assert torch.equal(rollout, update)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lora", [{"rank": 4, "alpha": 12}, None], ids=["lora", "full"])
def test_checkpointing_computes_every_block_again_and_changes_no_bit(
    model, lora, dtype, make, learn
):
    plain = learn(make(model, lora=lora, dtype=dtype))
    backbone = make(model, lora=lora, dtype=dtype, gradient_checkpointing=True)
    calls = []
    for number, block in enumerate(backbone.blocks()):
        block.register_forward_pre_hook(lambda *_, number=number: calls.append(number))
    rollout, update, gradients = learn(backbone)
    order = list(range(len(backbone.blocks())))
    assert calls == order + order + order[::-1]
    assert torch.equal(rollout, update)
    assert torch.equal(update, plain[1])
    assert same(gradients, plain[2])


def kept_for_backward(backbone, learn):
    """Bytes that autograd keeps in the update's forward, each storage once."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in backbone.pipeline.transformer.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        learn(backbone)
    return sum(size for place, size in kept.items() if place not in weights)


@pytest.mark.parametrize("model", MODELS)
def test_checkpointing_keeps_a_fraction_of_the_activations(model, make, learn):
    whole = kept_for_backward(make(model), learn)
    assert kept_for_backward(make(model, gradient_checkpointing=True), learn) < whole / 4


@pytest.fixture
def emulated_device(monkeypatch):
    """A device on the CPU: a frozen weight that is not there is NaN, whoever uses it."""
    away = {}

    def offload(group):
        frozen = {parameter for parameter in group.parameters if not parameter.requires_grad}
        for parameter in frozen - away.keys():
            away[parameter] = parameter.data
            parameter.data = torch.full_like(parameter.data, torch.nan)

    def onload(group):
        for parameter in group.parameters:
            parameter.data = away.pop(parameter, parameter.data)

    monkeypatch.setattr(ModuleGroup, "offload_", offload)
    monkeypatch.setattr(ModuleGroup, "onload_", onload)
    return away


def frozen(blocks):
    return [p for block in blocks for p in block.parameters() if not p.requires_grad]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_offloaded_blocks_change_no_bit(model, dtype, make, learn):
    plain = learn(make(model, dtype=dtype))
    offloaded = learn(make(model, dtype=dtype, **OFFLOADED))
    assert torch.equal(offloaded[0], plain[0])
    assert torch.equal(offloaded[1], plain[1])
    assert same(offloaded[2], plain[2])


@pytest.mark.parametrize("model", MODELS)
def test_a_backward_pass_finds_every_weight_and_leaves_none_on_the_device(
    model, make, learn, emulated_device
):
    plain = learn(make(model))
    backbone = make(model, **OFFLOADED)
    rollout, update, gradients = learn(backbone)
    assert torch.equal(rollout, plain[0])
    assert torch.equal(update, plain[1])
    assert same(gradients, plain[2])
    first, *others = backbone.blocks()
    assert all(parameter in emulated_device for parameter in frozen(others))
    learn(backbone)
    assert all(parameter in emulated_device for parameter in frozen(others))


@pytest.mark.parametrize("model", MODELS)
def test_at_most_one_block_is_on_the_device(model, make, learn, emulated_device):
    backbone = make(model, **OFFLOADED)
    learn(backbone)
    present = []

    def look(block, *_):
        blocks = backbone.blocks()
        present.append(sum(frozen([b])[0] not in emulated_device for b in blocks))

    for block in backbone.blocks():
        norm = next(block.children())  # its weights are there while this runs
        norm.register_forward_hook(look)
    learn(backbone)
    number = len(backbone.blocks())
    assert len(present) == 3 * number
    assert max(present[number:]) == 1
    assert max(present) <= 2  # the first block, from the backward pass before


@pytest.mark.parametrize("model", MODELS)
def test_diffusers_own_checkpointing_would_leave_every_block_on_the_device(
    model, make, learn, emulated_device
):
    """torch ends a recomputation at the last tensor it needs, before the hook that offloads."""
    backbone = make(model, **OFFLOADED)
    backbone.pipeline.transformer.enable_gradient_checkpointing()
    learn(backbone)
    assert not any(parameter in emulated_device for parameter in frozen(backbone.blocks()))


@pytest.mark.parametrize("model", MODELS)
def test_what_is_trained_is_never_moved(model, make):
    blocks = make(model, **OFFLOADED).blocks()
    moved = {id(p) for block in blocks for p in offload_group(block).parameters}
    assert moved == {id(parameter) for parameter in frozen(blocks)}
    assert not any(offload_group(block).modules for block in blocks)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.gpu
def test_offloaded_blocks_train_on_a_gpu(model, make, learn):
    plain = learn(make(model, device="cuda", dtype="bfloat16"))
    backbone = make(model, device="cuda", dtype="bfloat16", **OFFLOADED)
    offloaded = learn(backbone)
    assert torch.equal(offloaded[1], plain[1])
    assert same(offloaded[2], plain[2])
    assert {parameter.device.type for parameter in frozen(backbone.blocks()[1:])} == {"cpu"}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("lora", [{"rank": 4, "alpha": 12}, None], ids=["lora", "full"])
def test_a_small_gradient_survives_float16(model, lora, make, noise, perturb):
    """1e-10 a latent, as at 512 px with 1,152 images: float16 alone would make it 0."""

    def gradients(dtype):
        backbone = make(model, lora=lora, dtype=dtype)
        perturb(backbone)
        x, sigma = noise(backbone, 2, 64, 64), torch.tensor([0.8, 0.4])
        velocity = backbone.velocity(x, sigma, backbone.encode(PROMPTS, 64, 64))
        assert velocity.dtype == torch.float32
        ((velocity.float() * 1e-10).sum()).backward()
        return torch.cat([p.grad.flatten() for p in backbone.trainable().values()])

    exact, half = gradients("float32"), gradients("float16")
    assert exact.norm() > 0
    assert (half - exact).norm() < 0.05 * exact.norm()


def test_gradients_accumulate_over_backward_passes_in_float16(make, noise, perturb):
    backbone = make(dtype="float16", guidance_scale=1.0)
    perturb(backbone)
    x, sigma = noise(backbone, 1, 64, 64), torch.tensor([0.8])
    condition = backbone.encode(PROMPTS[:1], 64, 64)
    parameters = list(backbone.trainable().values())

    def gradient(*scales):
        for parameter in parameters:
            parameter.grad = None
        for scale in scales:
            (backbone.velocity(x, sigma, condition) * scale).sum().backward()
        return torch.cat([parameter.grad.flatten() for parameter in parameters])

    # powers of two: nothing rounds differently, so sums of gradients are exact multiples
    assert torch.equal(gradient(2.0**-40), 2.0**-50 * gradient(2.0**10))
    assert torch.equal(gradient(1.0, 1.0), 2 * gradient(1.0))
    assert gradient(0.0).count_nonzero() == 0


def test_tiles_decode_a_large_image(make, noise):
    backbone = make(vae_tiling=True)
    condition = backbone.encode(PROMPTS[:1], 128, 128)
    assert backbone.pipeline.vae.use_tiling
    images = backbone.decode(noise(backbone, 1, 128, 128), condition)
    assert images.shape == (1, 3, 128, 128)


@pytest.mark.parametrize("model", MODELS)
def test_decode_batch_bounds_what_the_vae_sees(model, make, noise, monkeypatch):
    backbone = make(model, decode_batch=3)
    seen = []
    decode = backbone.pipeline.vae.decode
    monkeypatch.setattr(
        backbone.pipeline.vae,
        "decode",
        lambda x, **options: seen.append(len(x)) or decode(x, **options),
    )
    condition = backbone.encode(PROMPTS[:1] * 7, 64, 64)
    backbone.decode(noise(backbone, 7, 64, 64), condition)
    assert seen == [3, 3, 1]
