"""Judges out of transformers: where a model lies, on which device, and one line when it fails.

Imports nothing heavy, so that a misspelt directory is told with every other config error.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator

from guardcore import GuardcoreError
from guardcore_plugins.backbones.quiet import first_line, quiet
from guardcore_plugins.backbones.source import locate

if TYPE_CHECKING:
    import torch

Dtype = Literal["float32", "bfloat16", "float16"]

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def _directory_or_hub_name(model: str) -> str:
    directory = locate(model)
    if directory is None and not _HUB_NAME.fullmatch(model):
        raise ValueError(f"{model!r} is neither a directory nor a hub name (owner/name)")
    if directory is not None and not (directory / "config.json").is_file():
        wrong = "no config.json in" if directory.is_dir() else "no directory"
        raise ValueError(f"{wrong} {directory} (expected one that save_pretrained wrote)")
    return model


ModelSource = Annotated[str, AfterValidator(_directory_or_hub_name)]
"""A directory that ``save_pretrained`` wrote, or a hub name (owner/name)."""


def load(kind: Any, model: str, option: str, **settings: Any) -> Any:
    """Return ``kind.from_pretrained(model)``, a tokenizer, a processor or a config.

    Args:
        kind: A class of transformers.
        model: A directory or a hub name.
        option: Whose value ``model`` is, for the error.
        **settings: What else ``from_pretrained`` takes.

    Raises:
        GuardcoreError: It can't be fetched or loaded; one line with the remedy.
    """
    directory = locate(model)
    try:
        with quiet(bars=directory is None):  # a download's bars are worth seeing
            return kind.from_pretrained(directory or model, **settings)
    except Exception as error:  # OSError, httpx', safetensors' and the hub client's own families
        remedy = (
            "give a directory that save_pretrained wrote"
            if directory is not None
            else f"is the name right, and the network there? For a gated model accept its licence "
            f"at https://huggingface.co/{model} and run `hf auth login`; or give a directory"
        )
        raise GuardcoreError(
            f"{option}: cannot load {model!r} ({first_line(error)}); {remedy}"
        ) from error


def load_model(
    kind: Any, model: str, option: str, *, device: torch.device, dtype: torch.dtype
) -> Any:
    """Return a whole model on its device, frozen and in evaluation mode.

    Raises:
        GuardcoreError: As ``load``; or weights are missing, which transformers would draw at
            random with a warning.
    """
    network, report = load(kind, model, option, torch_dtype=dtype, output_loading_info=True)
    missing = sorted(set(report["missing_keys"]) & {name for name, _ in network.named_parameters()})
    if missing:
        raise GuardcoreError(
            f"{option}: {model!r} is no {kind.__name__}: it lacks {len(missing)} weights, "
            f"{missing[0]} the first; give one that {kind.__name__}.save_pretrained wrote"
        )
    return network.requires_grad_(False).eval().to(device)
