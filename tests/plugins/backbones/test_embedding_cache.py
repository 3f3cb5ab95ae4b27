"""Text encoders that are there only while they work, and what they leave on disk."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from guardcore import GuardcoreError, Prompt
from guardcore_plugins.backbones.embedding_store import EmbeddingStore, default_directory

SHORT, LONG = "a red circle", "a red circle left of two blue squares and " * 8
MODELS = ["clip", "t5"]


@pytest.fixture
def cached(make, tmp_path):
    def build(model="clip", **options):
        return make(
            model, **{"text_encoders": "cache", "embedding_cache": tmp_path / "cache"} | options
        )

    return build


@pytest.fixture
def loads(monkeypatch):
    """The prompts encoded by each load of the encoders after the backbone was built."""
    seen = []
    from_pretrained = StableDiffusion3Pipeline.from_pretrained
    monkeypatch.setattr(
        StableDiffusion3Pipeline,
        "from_pretrained",
        lambda *args, **options: seen.append(args) or from_pretrained(*args, **options),
    )
    return seen


def tensors(backbone, *texts):
    return backbone.encode([Prompt(text) for text in texts], 64, 64).tensors


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("model", [*MODELS, "flux"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_cached_embedding_is_the_encoders_own(model, dtype, make, cached):
    kept = make(model, dtype=dtype)
    expected = tensors(kept, SHORT, LONG)
    assert equal(tensors(cached(model, dtype=dtype), SHORT, LONG), expected)
    assert equal(tensors(cached(model, dtype=dtype), SHORT, LONG), expected)  # now from disk


@pytest.mark.parametrize("model", MODELS)
def test_encoders_are_in_memory_only_while_they_encode(model, cached, monkeypatch):
    backbone = cached(model)
    names = [name for name in backbone.pipeline.components if name.startswith("text_encoder")]
    present = lambda: [n for n in names if getattr(backbone.pipeline, n) is not None]  # noqa: E731
    seen = []
    encode_prompt = backbone.pipeline.encode_prompt
    monkeypatch.setattr(
        backbone.pipeline, "encode_prompt", lambda **o: seen.append(present()) or encode_prompt(**o)
    )
    assert present() == []
    tensors(backbone, SHORT, LONG)
    assert len(seen) == 3  # with the negative prompt
    assert seen[0] == (names if model == "t5" else names[:2])
    assert present() == []


def test_prepared_prompts_load_the_encoders_once_and_later_ones_again(cached, loads):
    backbone = cached()
    assert len(loads) == 1
    backbone.prepare(text for text in [SHORT, LONG, SHORT])
    assert len(loads) == 2
    for _ in range(2):
        tensors(backbone, SHORT, LONG)
    assert len(loads) == 2
    tensors(backbone, "another", "and another")
    assert len(loads) == 3
    again = cached()
    tensors(again, SHORT, LONG, "another")
    assert len(loads) == 4  # the pipeline itself


def test_encoders_that_stay_are_never_loaded_again(make, loads):
    backbone = make()
    backbone.prepare([SHORT])
    tensors(backbone, SHORT)
    assert len(loads) == 1


def test_the_encoders_are_dropped_after_a_failure(cached, monkeypatch):
    backbone = cached()

    def fail(**options):
        raise KeyError

    monkeypatch.setattr(backbone.pipeline, "encode_prompt", fail)
    with pytest.raises(KeyError):
        backbone.prepare([SHORT])
    assert backbone.pipeline.text_encoder is None


def test_a_damaged_file_is_encoded_again(cached, tmp_path):
    expected = tensors(cached(), SHORT)
    for path in (tmp_path / "cache").rglob("*.safetensors"):
        path.write_bytes(b"half a fi")
    assert equal(tensors(cached(), SHORT), expected)
    assert equal(tensors(cached(), SHORT), expected)


def test_other_encoders_or_lengths_have_their_own_embeddings(cached, tmp_path):
    for options in ({}, {"dtype": "bfloat16"}, {"max_sequence_length": 16}, {"model": "t5"}):
        tensors(cached(**options), SHORT)
    assert len(list((tmp_path / "cache").iterdir())) == 4
    tensors(cached(), SHORT)
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_two_processes_fill_one_store_at_once(models_on_disk, tmp_path):
    script = f"""
import sys
from guardcore_plugins.backbones.options import SD3Options
from guardcore_plugins.backbones.plugin import sd3
backbone = sd3(SD3Options(model={str(models_on_disk["clip"])!r}, device="cpu", text_encoders="cache",
                          embedding_cache={str(tmp_path)!r}))
backbone.prepare(f"prompt {{place}}" for place in range(40))
"""
    running = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 41
    assert {path.suffix for path in files} == {".safetensors"}


def test_a_store_gives_back_what_was_written(tmp_path):
    store = EmbeddingStore(tmp_path, {"model": "m"})
    embedding = (torch.randn(1, 3, 4).bfloat16(), torch.randn(1, 5))
    assert "a" not in store
    assert store.read("a") is None
    store.write("a", embedding)
    assert "a" in store
    assert all(torch.equal(x, y) for x, y in zip(store.read("a"), embedding, strict=True))
    assert store.read("b") is None
    assert EmbeddingStore(tmp_path, {"model": "n"}).read("a") is None


def test_a_disk_that_takes_nothing_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    store = EmbeddingStore(tmp_path / "file", {})
    with pytest.raises(GuardcoreError, match=r"backbone\.embedding_cache: cannot write") as caught:
        store.write("a", (torch.zeros(1),))
    assert "\n" not in str(caught.value)


def test_the_default_directory_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_directory() == tmp_path / "guardcore" / "embeddings"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_directory() == tmp_path / ".cache" / "guardcore" / "embeddings"
    assert os.fspath(default_directory())
