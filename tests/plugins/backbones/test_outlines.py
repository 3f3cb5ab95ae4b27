"""Outlines against published counts, and against the backbones that they outline."""

import gc
import os
import subprocess
import sys

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from guardcore import GuardcoreError, Prompt, promote
from guardcore.planning.live_bytes import LiveBytes
from guardcore.planning.trace import MicroBatch
from guardcore_plugins.backbones.options import FluxOptions, SD3Options
from guardcore_plugins.backbones.outline import outline_flux, outline_sd3
from guardcore_plugins.backbones.outline_weights import weight_bytes

SD35M, FLUX1DEV = "stabilityai/stable-diffusion-3.5-medium", "black-forest-labs/FLUX.1-dev"


def parameters(outline):
    trained = {id(p) for p in outline.backbone.trainable().values()}
    return {
        name: sum(p.numel() for p in part.module.parameters() if id(p) not in trained)
        for name, part in outline.parts.items()
    }


@pytest.fixture(scope="module")
def sd35m():
    return outline_sd3(SD3Options(model=SD35M, dtype="float16"))


@pytest.fixture(scope="module")
def flux1dev():
    return outline_flux(FluxOptions(model=FLUX1DEV, dtype="bfloat16"))


def test_sd35_medium_has_its_published_parameters(sd35m):
    counts = parameters(sd35m)
    assert counts["transformer"] == 2_243_171_520
    assert counts["text_encoder_3"] == pytest.approx(4.76e9, rel=0.001)
    assert counts["text_encoder_2"] == pytest.approx(0.695e9, rel=0.001)
    assert counts["text_encoder"] == pytest.approx(0.1236e9, rel=0.001)
    assert counts["vae"] == pytest.approx(84e6, rel=0.01)


def test_flux1_dev_has_its_published_parameters(flux1dev):
    counts = parameters(flux1dev)
    assert counts["transformer"] == pytest.approx(11.9e9, rel=0.01)
    assert counts["transformer"] == 11_901_408_320
    assert flux1dev.parts["transformer"].held == pytest.approx(23.8e9, rel=0.001)


def test_t5_keeps_its_wo_in_float32_where_the_rest_is_float16(sd35m):
    # transformers loads it so: 24 layers of 10240 x 4096 with 4 bytes in place of 2
    whole = 24 * 10240 * 4096
    counted = parameters(sd35m)["text_encoder_3"]
    assert sd35m.parts["text_encoder_3"].held == 2 * (counted + whole)


def test_quantised_weights_are_a_half_and_little_more_than_a_quarter(flux1dev):
    network = flux1dev.parts["transformer"].module
    whole = weight_bytes(network)
    assert 0.5 < weight_bytes(network, "8bit") / whole < 0.51
    assert 0.25 < weight_bytes(network, "4bit") / whole < 0.3


def test_offloaded_blocks_leave_one_on_the_device(flux1dev):
    options = {"model": FLUX1DEV, "dtype": "bfloat16", "gradient_checkpointing": True}
    held = outline_flux(FluxOptions(**options, offload="blocks")).parts["transformer"].held
    block = max(weight_bytes(block) for block in flux1dev.backbone.blocks())
    assert block < held < 0.05 * flux1dev.parts["transformer"].held + block


def test_a_text_cache_drops_the_encoders_alone():
    parts = outline_sd3(SD3Options(model=SD35M, text_encoders="cache")).parts
    held = {name: part.held for name, part in parts.items()}
    assert {name for name, size in held.items() if size == 0} == {
        *("text_encoder", "text_encoder_2", "text_encoder_3")
    }


@pytest.mark.parametrize("model", ["clip", "t5"])
@pytest.mark.parametrize("guidance", [1.0, 4.5])
def test_an_outline_is_its_backbone_without_numbers(make, models_on_disk, model, guidance):
    options = {"guidance_scale": guidance, "max_sequence_length": 32}
    real = make(model, **options)
    outline = outline_sd3(SD3Options(model=str(models_on_disk[model]), **options))
    assert outline.backbone.latent_shape(64, 32) == real.latent_shape(64, 32)
    shapes = {name: p.shape for name, p in real.trainable().items()}
    assert {name: p.shape for name, p in outline.backbone.trainable().items()} == shapes
    condition = real.encode([Prompt("a red circle")] * 2, 64, 32)
    drawn = outline.condition(2, 64, 32)
    assert {n: (t.shape, t.dtype) for n, t in drawn.tensors.items()} == {
        n: (t.shape, t.dtype) for n, t in condition.tensors.items()
    }


def real_saved_bytes(backbone, rows):
    """What a real forward saves: distinct storages, but for weights and inputs."""
    condition = backbone.encode([Prompt("a red circle")] * rows, 64, 64)
    x = torch.randn(rows, *backbone.latent_shape(64, 64))
    network = backbone.pipeline.transformer
    given = [x, *condition.tensors.values(), *network.parameters(), *network.buffers()]
    known = {tensor.untyped_storage().data_ptr() for tensor in given}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = promote(backbone.velocity(x, torch.full((rows,), 0.5), condition)).square().mean()
        del loss
    return sum(kept.values())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_update_saves_what_a_real_one_saves(make, models_on_disk, dtype):
    options = {"guidance_scale": 1.0, "max_sequence_length": 32, "dtype": dtype}
    outline = outline_sd3(SD3Options(model=str(models_on_disk["clip"]), **options))
    ours = MicroBatch(outline, 8, 64, 64).update().saved
    gc.collect()
    assert ours == pytest.approx(real_saved_bytes(make("clip", **options), 8), rel=0.05)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_peak_is_that_of_a_real_update(make, models_on_disk, dtype):
    # the same counter over tensors with numbers: what differs is the attention kernel's row sums
    options = {"guidance_scale": 4.5, "max_sequence_length": 32, "dtype": dtype}
    foretold = MicroBatch(
        outline_sd3(SD3Options(model=str(models_on_disk["clip"]), **options)), 8, 64, 64
    ).update()
    backbone = make("clip", **options)
    condition = backbone.encode([Prompt("a red circle")] * 8, 64, 64)
    x, sigma = torch.randn(8, *backbone.latent_shape(64, 64)), torch.full((8,), 0.5)
    trained = backbone.trainable().values()
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    network = backbone.pipeline.transformer
    given = [x, sigma, *condition.tensors.values(), *(parameter.grad for parameter in trained)]
    with LiveBytes([*given, *network.parameters(), *network.buffers()]) as live:
        promote(backbone.velocity(x, sigma, condition)).square().mean().backward()
    assert foretold.peak == pytest.approx(live.peak, rel=0.01)


def test_full_fine_tuning_in_half_precision_can_be_outlined(models_on_disk):
    options = SD3Options(
        model=str(models_on_disk["clip"]), dtype="bfloat16", lora=None, max_sequence_length=32
    )
    outline = outline_sd3(options)
    trained = sum(p.numel() for p in outline.backbone.trainable().values())
    assert outline.parts["transformer"].held == 2 * trained  # autocast's copies
    assert outline.reference_bytes == 4 * trained
    assert MicroBatch(outline, 2, 64, 64).update().flops > 0


def test_a_damaged_config_is_one_line(tmp_path, models_on_disk):
    import shutil

    copy = tmp_path / "model"
    shutil.copytree(models_on_disk["clip"], copy)
    (copy / "vae" / "config.json").write_text("{")
    with pytest.raises(GuardcoreError, match="cannot read the config files of"):
        outline_sd3(SD3Options(model=str(copy)))


def test_a_hub_name_out_of_reach_is_one_line(monkeypatch):
    import huggingface_hub

    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(GuardcoreError, match=r"cannot fetch the config files of 'some/model'"):
        outline_sd3(SD3Options(model="some/model"))


MEASURED = """
import resource, sys
import torch
from guardcore_plugins.backbones.plugin import sd3
from guardcore_plugins.backbones.options import SD3Options
from guardcore import Condition, promote
rows, checkpointing = int(sys.argv[1]), sys.argv[2] == "True"
backbone = sd3(SD3Options(model="tiny-sd3", guidance_scale=1.0, max_sequence_length=1,
                          device="cpu", gradient_checkpointing=checkpointing))
from guardcore import Prompt
def inputs(rows):
    condition = backbone.encode([Prompt("a red circle")] * rows, 64, 64)
    return torch.randn(rows, *backbone.latent_shape(64, 64)), torch.full((rows,), 0.5), condition
def step(x, sigma, condition):
    promote(backbone.velocity(x, sigma, condition)).square().mean().backward()
step(*inputs(1))
given = inputs(rows)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
step(*given)
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""
"""Prints by how many bytes a process grows for one update of the embedded model."""


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_an_update_grows_a_process_by_the_bytes_that_were_foretold(checkpointing):
    rows = 1024
    outline = outline_sd3(
        SD3Options(
            model="tiny-sd3",
            guidance_scale=1.0,
            max_sequence_length=1,
            gradient_checkpointing=checkpointing,
        )
    )
    foretold = MicroBatch(outline, rows, 64, 64).update().peak
    command = [sys.executable, "-c", MEASURED, str(rows), str(checkpointing)]
    # large blocks go back to the system when they are freed; glibc's heap would keep some
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    grown = int(done.stdout)
    assert grown == pytest.approx(foretold, rel=0.05), (grown, foretold)
