"""Every weight of the transformer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch.nn import Parameter

from guardcore import GuardcoreError
from guardcore_plugins.backbones.quiet import first_line, quiet
from guardcore_plugins.backbones.tuning import check_fit, copy_into


class FullTuning:
    """Every weight of the transformer; the directory is diffusers' model format.

    Args:
        pipeline: A diffusers pipeline with a frozen float32 ``transformer``.
        directory: Where the pipeline was loaded from; the reference is read from there.
    """

    def __init__(self, pipeline: Any, directory: Path) -> None:
        self.network = pipeline.transformer.requires_grad_(True)
        self._trained = self.network
        self._directory = directory
        self._initial: Any = None

    def trainable(self) -> Mapping[str, Parameter]:
        """Return all parameters under their own names."""
        return dict(self._trained.named_parameters())

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Swap in a frozen twin, read from the model's files when first needed.

        Later than at the start, so that a run without penalty doesn't hold the weights twice; from
        the files, so that training and loading since then can't have touched it.
        """
        self.network = self._load_initial()
        try:
            yield
        finally:
            self.network = self._trained

    def _load_initial(self) -> Any:
        if self._initial is None:
            twin = _read_model(type(self._trained), self._directory, subfolder="transformer")
            self._initial = twin.requires_grad_(False).eval().to(self._trained.device)
        return self._initial

    def save(self, directory: Path) -> None:
        """Write what ``SD3Transformer2DModel.from_pretrained(directory)`` takes."""
        self._trained.save_pretrained(directory)

    def load(self, directory: Path) -> None:
        """Read a transformer of the same shape.

        Raises:
            GuardcoreError: There is none, or it doesn't fit.
        """
        state = _read_model(type(self._trained), directory).state_dict()
        parameters = self.trainable()
        weights = {name: tensor for name, tensor in state.items() if name in parameters}
        check_fit(directory, weights, parameters)
        copy_into(parameters, weights)


def _read_model(model_class: Any, directory: Path, **options: Any) -> Any:
    try:
        with quiet():
            return model_class.from_pretrained(directory, torch_dtype=torch.float32, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise GuardcoreError(
            f"cannot read a {model_class.__name__} from {directory}: {first_line(error)}"
        ) from error
