"""Prompts to embeddings, with text encoders that stay or that are there only while they work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from guardcore import GuardcoreError
from guardcore_plugins.backbones.embedding_store import (
    EmbeddingStore,
    default_directory,
    fingerprint,
)
from guardcore_plugins.backbones.embeddings import Embedding, EmbeddingCache
from guardcore_plugins.backbones.options import ModelOptions
from guardcore_plugins.backbones.quiet import first_line, quiet


class TextEmbeddings:
    """Embeddings by text: from memory, then from disk, then from the encoders.

    Args:
        pipeline: A diffusers pipeline; with ``text_encoders: cache``, one loaded without them.
        encode: From a text to its embedding, by the pipeline's encoders.
        options: The backbone's.
        device: Where the encoders work.
    """

    def __init__(
        self,
        pipeline: Any,
        encode: Callable[[str], Embedding],
        options: ModelOptions,
        device: torch.device,
    ) -> None:
        self._pipeline, self._encode = pipeline, encode
        self._device, self._dtype = device, getattr(torch, options.dtype)
        self._store = (
            _store(pipeline, options, device) if options.text_encoders == "cache" else None
        )
        self._memory = EmbeddingCache(encode if self._store is None else self._stored)

    def __call__(self, text: str) -> Embedding:
        """Return the embedding of ``text``, tensors ``[1, …]`` on the CPU."""
        return self._memory(text)

    def prepare(self, texts: Iterable[str]) -> None:
        """Bring the embeddings of ``texts`` to disk, loading the encoders at most once.

        Does nothing where the encoders stay.
        """
        if self._store is not None:
            self._fill(self._store, texts)

    def _stored(self, text: str) -> Embedding:
        assert self._store is not None
        found = self._store.read(text)
        if found is None:  # absent, or damaged
            with loaded_encoders(self._pipeline, self._device, self._dtype):
                found = self._encode(text)
            self._store.write(text, found)
        return found

    def _fill(self, store: EmbeddingStore, texts: Iterable[str]) -> None:
        absent = (text for text in _distinct(texts) if text not in store)
        first = next(absent, None)
        if first is None:
            return
        with loaded_encoders(self._pipeline, self._device, self._dtype):
            for text in _with_progress(first, absent):
                store.write(text, self._encode(text))


@contextmanager
def loaded_encoders(pipeline: Any, device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Inside, the pipeline has its text encoders, on ``device``.

    Raises:
        GuardcoreError: They can't be loaded from where the pipeline came from.
    """
    names = encoder_names(pipeline)
    others: dict[str, Any] = dict.fromkeys(
        name for name in pipeline.components if name not in names
    )
    try:
        with quiet():
            donor = type(pipeline).from_pretrained(
                pipeline.name_or_path, torch_dtype=dtype, **others | _absent(pipeline, names)
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise GuardcoreError(
            f"backbone.text_encoders: cannot load them from {pipeline.name_or_path}: "
            f"{first_line(error)}"
        ) from error
    for name in names:
        encoder = getattr(donor, name)
        if encoder is not None:
            setattr(pipeline, name, encoder.requires_grad_(False).eval().to(device))
    del donor, encoder
    try:
        yield
    finally:
        for name in names:
            setattr(pipeline, name, None)
        if device.type == "cuda":
            torch.cuda.empty_cache()


def encoder_names(pipeline: Any) -> list[str]:
    """Return the names of the text encoders that this pipeline's class has."""
    return [name for name in pipeline.components if name.startswith("text_encoder")]


def _absent(pipeline: Any, names: Iterable[str]) -> dict[str, Any]:
    """The model may have been saved without one; its tokenizer is then missing, too."""
    directory = Path(pipeline.name_or_path)
    return {name: None for name in names if not (directory / name).is_dir()}


def _store(pipeline: Any, options: ModelOptions, device: torch.device) -> EmbeddingStore:
    directory = Path(pipeline.name_or_path)
    parts = [name for name in pipeline.components if name.startswith(("text_encoder", "tokenizer"))]
    identity = {
        "pipeline": type(pipeline).__name__,
        "directory": str(directory.resolve()),
        "files": fingerprint(directory, parts),
        "dtype": options.dtype,
        "device": device.type,  # another kind rounds otherwise
        "max_sequence_length": options.max_sequence_length,
    }
    place = options.embedding_cache
    return EmbeddingStore(default_directory() if place is None else place.expanduser(), identity)


def _distinct(texts: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for text in texts:
        if text not in seen:
            seen.add(text)
            yield text


def _with_progress(first: str, rest: Iterator[str]) -> Iterator[str]:
    """Yield all texts; a terminal is told how many are done."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    with tqdm(desc="encoding prompts", unit=" prompts", disable=None, leave=False) as bar:
        yield first
        bar.update()
        for text in rest:
            yield text
            bar.update()
