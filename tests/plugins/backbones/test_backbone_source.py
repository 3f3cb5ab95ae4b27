"""A wrong ``backbone.model`` is one line, before anything heavy is imported where possible."""

from __future__ import annotations

import json
import shutil

import pytest
from pydantic import ValidationError

from guardcore import GuardcoreError
from guardcore_plugins.backbones import loading
from guardcore_plugins.backbones.options import SD3Options
from guardcore_plugins.backbones.source import check_model, locate

PIPELINE = "StableDiffusion3Pipeline"


@pytest.fixture
def model(models_on_disk, tmp_path):
    """A copy of a whole model that a test may damage."""
    return shutil.copytree(models_on_disk["clip"], tmp_path / "model")


def message(model):
    with pytest.raises(ValueError, match=r".") as caught:
        check_model(str(model), PIPELINE)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_whole_model_passes(model):
    check_model(str(model), PIPELINE)
    assert locate(str(model)) == model


def test_the_embedded_name_is_a_directory_in_the_package():
    directory = locate("tiny-sd3")
    assert directory is not None
    assert directory.parts[-3:] == ("guardcore_plugins", "tiny_world", "sd3")


@pytest.mark.parametrize("name", ["owner/name", "stabilityai/stable-diffusion-3.5-medium"])
def test_a_hub_name_is_not_looked_for_on_disk(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate(name) is None
    check_model(name, PIPELINE)


@pytest.mark.parametrize("path", ["./model", "/no/where", "~/none-such", "runs/modle", "a/b/c"])
def test_a_missing_directory_is_named(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert message(path).startswith("no directory ")


def test_a_bare_word_is_told_what_there_is():
    assert message("tiny-sd4") == (
        "'tiny-sd4' is neither a directory nor a hub name (owner/name); "
        "embedded models: tiny-sd3, tiny-flux"
    )


def test_a_file_in_place_of_a_directory_is_told(tmp_path):
    (tmp_path / "sd3.safetensors").touch()
    assert "is a file (expected a StableDiffusion3Pipeline" in message(tmp_path / "sd3.safetensors")


def test_a_directory_without_an_index_is_told(tmp_path):
    assert message(tmp_path).startswith(f"{tmp_path} has no model_index.json")


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_index_is_told(text, model):
    (model / "model_index.json").write_text(text)
    assert "model_index.json is not a JSON object" in message(model)


def test_another_pipeline_is_told(model):
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps(index | {"_class_name": "FluxPipeline"}))
    assert "holds a FluxPipeline (expected a StableDiffusion3Pipeline" in message(model)


def test_a_missing_component_is_told(model):
    shutil.rmtree(model / "text_encoder_2")
    assert message(model).startswith(f"no directory {model / 'text_encoder_2'}")


def test_missing_weights_are_told(model):
    (model / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    assert message(model).startswith(f"{model / 'transformer'} has no weights")


def test_the_options_report_the_model_with_all_other_errors(tmp_path):
    with pytest.raises(ValidationError) as caught:
        SD3Options(model=str(tmp_path / "none"), guidance_scale=-1, device="tpu", nonsense=1)
    assert {error["loc"] for error in caught.value.errors()} == {
        ("model",),
        ("guidance_scale",),
        ("device",),
        ("nonsense",),
    }


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(("transformer/diffusion_pytorch_model.safetensors", b"junk"), id="weights"),
        pytest.param(("vae/config.json", b"{"), id="config"),
        pytest.param(("tokenizer/tokenizer.json", b"{}"), id="tokenizer"),
    ],
)
def test_a_damaged_file_is_one_line(damage, model, make):
    name, content = damage
    (model / name).write_bytes(content)
    with pytest.raises(GuardcoreError, match=r"^backbone\.model: cannot load ") as caught:
        make(str(model))
    assert "\n" not in str(caught.value)


def test_a_file_missing_at_load_time_is_one_line(model, make):
    (model / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(GuardcoreError, match=r"^backbone\.model: cannot load ") as caught:
        make(str(model))
    assert "\n" not in str(caught.value)


def test_another_scheduler_is_told(model, make):
    index = json.loads((model / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", "FlowMatchHeunDiscreteScheduler"]
    (model / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(GuardcoreError, match="FlowMatchHeunDiscreteScheduler, need a FlowMatchE"):
        make(str(model))


def test_a_hub_that_refuses_is_one_line_with_the_remedy(tmp_path, monkeypatch):
    class Gated:
        @staticmethod
        def download(name):
            raise OSError("\n  401 Client Error.\nAccess to model owner/name is restricted.")

    monkeypatch.chdir(tmp_path)
    with pytest.raises(GuardcoreError) as caught:
        loading.fetch("owner/name", Gated)
    assert str(caught.value) == (
        "backbone.model: cannot fetch 'owner/name' from the hub (401 Client Error); accept its "
        "licence at https://huggingface.co/owner/name and run `hf auth login`, or give a local "
        "directory"
    )
