"""Cosines of images and texts under a CLIP, and the loading of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional

from guardcore import GuardcoreError
from guardcore_plugins.backbones.embeddings import EmbeddingCache
from guardcore_plugins.backbones.quiet import first_line, quiet
from guardcore_plugins.devices import pick_device
from guardcore_plugins.rewards.clip import ClipOptions
from guardcore_plugins.rewards.clip_pixels import Preprocessing
from guardcore_plugins.rewards.clip_source import (
    MODEL_FILES,
    PROCESSOR_FILES,
    check_model_directory,
    check_processor_directory,
    fetch,
    holds_processor,
)


class ClipScorer:
    """How close images and texts are; every distinct text is embedded once.

    Args:
        model: transformers' ``CLIPModel``, on its device, in evaluation mode.
        tokenizer: Its tokenizer.
        preprocess: Its preprocessing.
        batch_size: Images a forward pass.
    """

    def __init__(
        self, model: Any, tokenizer: Any, preprocess: Preprocessing, batch_size: int
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._preprocess = preprocess
        self._batch_size = batch_size
        self._texts = EmbeddingCache(self._embed_text)

    @property
    def logit_scale(self) -> float:
        """The factor on a cosine with which the model was trained, exp(logit_scale)."""
        return float(self._model.logit_scale.detach().double().exp())

    @torch.no_grad()
    def __call__(self, images: Tensor, texts: Sequence[str]) -> Tensor:
        """Return the cosine of each image and its text, float64 on the CPU ``[B]``.

        Args:
            images: ``[B, 3, H, W]`` in [0, 1].
            texts: One an image; longer ones than the model takes are cut.
        """
        said = torch.cat([self._texts(text)[0] for text in texts])
        seen = torch.cat(list(self._embed_images(images)))
        return functional.cosine_similarity(seen.double(), said.double())

    def close(self) -> None:
        """Let go of the model and its memory, once; there are no scores afterwards."""
        self.__dict__.pop("_model", None)
        self.__dict__.pop("_texts", None)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _embed_images(self, images: Tensor) -> Iterator[Tensor]:
        model = self._model
        for start in range(0, len(images), self._batch_size):
            part = images[start : start + self._batch_size]
            pixels = self._preprocess(part.to(model.device)).to(model.dtype)
            yield model.visual_projection(model.vision_model(pixels).pooler_output).cpu()

    def _embed_text(self, text: str) -> tuple[Tensor]:
        limit = self._model.config.text_config.max_position_embeddings
        ids = self._tokenizer(text, truncation=True, max_length=limit, return_tensors="pt")
        pooled = self._model.text_model(ids.input_ids.to(self._model.device)).pooler_output
        return (self._model.text_projection(pooled),)


def load(options: ClipOptions, processor: str | None = None) -> ClipScorer:
    """Load a CLIP to its device.

    Args:
        options: What and where.
        processor: Hub name of tokenizer and preprocessing for a model that has none of its own.

    Raises:
        GuardcoreError: The model can't be fetched or loaded, or there is no such device.
    """
    device = pick_device(options.device, "device")
    model = _fetched("model", options.model, MODEL_FILES)
    named = options.processor or (None if holds_processor(model) else processor)
    beside = model if named is None else _fetched("processor", named, PROCESSOR_FILES)
    clip = _loaded("model", model, _load_model)
    tokenizer, preprocess = _loaded("processor", beside, _load_processor)
    clip = clip.to(device, getattr(torch, options.dtype)).eval().requires_grad_(False)
    return ClipScorer(clip, tokenizer, preprocess, options.batch_size)


def _fetched(option: str, name: str, patterns: Sequence[str]) -> Path:
    try:
        return fetch(name, patterns)
    except GuardcoreError as error:
        raise GuardcoreError(f"{option}: {error}") from error


def _loaded(option: str, directory: Path, load_from: Any) -> Any:
    """Load something, with one line when it fails."""
    try:
        with quiet():
            return load_from(directory)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise GuardcoreError(f"{option}: cannot load {directory}: {first_line(error)}") from error


def _load_model(directory: Path) -> Any:
    from transformers import CLIPModel

    check_model_directory(directory)
    return CLIPModel.from_pretrained(directory, use_safetensors=True, local_files_only=True)


def _load_processor(directory: Path) -> tuple[Any, Preprocessing]:
    """Return the tokenizer, and the preprocessing as the reference's own class reads it."""
    import transformers

    check_processor_directory(directory)
    # transformers 5 calls the class that works with PIL alone by another name
    pil = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True)
    return tokenizer, Preprocessing.of(pil.from_pretrained(directory, local_files_only=True))
