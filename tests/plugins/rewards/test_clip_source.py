"""A wrong model or processor is one line, before anything heavy is imported where possible."""

import json
import shutil

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from pydantic import ValidationError

from guardcore import GuardcoreError
from guardcore_plugins.rewards.clip_source import (
    MODEL_FILES,
    check_model,
    check_processor,
    fetch,
    holds_processor,
    locate,
)
from guardcore_plugins.rewards.pickscore import PickScoreOptions


@pytest.fixture
def model(clip_on_disk, tmp_path):
    """A copy of a whole model that a test may damage."""
    return shutil.copytree(clip_on_disk, tmp_path / "model")


def message(name, check=check_model):
    with pytest.raises(ValueError, match=r".") as caught:
        check(str(name))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_whole_model_passes(model):
    check_model(str(model))
    check_processor(str(model))
    assert holds_processor(model)


def test_the_embedded_name_is_a_directory_in_the_package():
    directory = locate("tiny-preference")
    assert directory.parts[-3:] == ("guardcore_plugins", "tiny_world", "preference")
    check_model("tiny-preference")
    check_processor("tiny-preference")


def test_a_bare_word_is_told_what_there_is():
    assert message("tiny-preferences") == (
        "'tiny-preferences' is neither a directory nor a hub name (owner/name); "
        "embedded: tiny-preference"
    )


def test_missing_directories_and_files_are_named(tmp_path):
    assert message(tmp_path / "none") == f"no directory {tmp_path / 'none'}"
    (tmp_path / "file").touch()
    assert message(tmp_path / "file") == f"{tmp_path / 'file'} is a file"
    assert message(tmp_path).startswith(f"{tmp_path} has no config.json")
    assert message(tmp_path, check_processor).startswith(f"{tmp_path} has no preprocessor_config")


def test_another_kind_of_model_is_told(model):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"model_type": "siglip"}))
    assert "holds a 'siglip', expected a CLIPModel" in message(model)
    (model / "config.json").write_text("{")
    assert "config.json is not JSON" in message(model)


def test_a_pickle_is_refused_and_never_opened(model):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    found = message(model)
    assert "pytorch_model.bin, a pickle, which is never loaded" in found
    assert "save_pretrained" in found
    (model / "pytorch_model.bin").unlink()
    assert "has no model.safetensors" in message(model)


def test_a_missing_tokenizer_is_told(model):
    (model / "tokenizer.json").unlink()
    assert "has no tokenizer.json or vocab.json" in message(model, check_processor)
    assert not holds_processor(model)


def test_the_options_tell_all_at_once(tmp_path):
    with pytest.raises(ValidationError) as caught:
        PickScoreOptions(
            model=str(tmp_path), processor="x", device="tpu", divide_by=0, batch_size=0
        )
    wrong = {error["loc"][0] for error in caught.value.errors()}
    assert wrong == {"model", "processor", "device", "divide_by", "batch_size"}


def failing(kind, text):
    """An error of the hub client; its own constructor wants a response that nobody gave."""

    class Failing(kind):
        def __init__(self):
            Exception.__init__(self, text)

        def __str__(self):
            return text

    return Failing()


HUB = {
    "gated": (GatedRepoError, "accept its licence at https://huggingface.co/owner/name and run"),
    "missing": (RepositoryNotFoundError, "check the name; if it is private, run `hf auth login`"),
    "offline": (LocalEntryNotFoundError, "check the network"),
    "anything": (RuntimeError, "check the network"),
}


@pytest.mark.parametrize("case", HUB)
def test_a_hub_that_refuses_is_one_line_with_the_remedy(case, tmp_path, monkeypatch):
    kind, remedy = HUB[case]

    def refuse(name, allow_patterns):
        raise failing(kind, "\n  401 Client Error.\nMore of it.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(GuardcoreError) as caught:
        fetch("owner/name", MODEL_FILES)
    found = str(caught.value)
    assert found.startswith("cannot fetch 'owner/name' from the hub (401 Client Error); " + remedy)
    assert found.endswith(", or give a local directory")
    assert "\n" not in found


def test_a_config_that_names_it_gets_the_line_too(tmp_path, monkeypatch):
    from guardcore_plugins.rewards.pickscore import pickscore

    def refuse(name, allow_patterns):
        raise failing(GatedRepoError, "403 Client Error.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(GuardcoreError, match=r"^model: cannot fetch 'yuvalkirstain/PickScore_v1'"):
        pickscore(PickScoreOptions(device="cpu"))


def test_only_what_is_needed_is_fetched(tmp_path, monkeypatch):
    asked = {}

    def download(name, allow_patterns):
        asked[name] = allow_patterns
        return str(tmp_path)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert fetch("owner/name", MODEL_FILES) == tmp_path
    assert asked == {"owner/name": ["*.json", "*.txt", "model*.safetensors"]}
