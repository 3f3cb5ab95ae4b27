"""What was trained, in the forms that diffusers and ComfyUI load."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from guardcore import GuardcoreError
from guardcore_plugins.backbones.memory_options import ModelOptions
from guardcore_plugins.backbones.model_options import LoraOptions
from guardcore_plugins.backbones.quiet import quiet
from guardcore_plugins.backbones.source import present_components
from guardcore_plugins.backbones.tuning import Tuning

FORMATS = ("diffusers", "comfyui", "merged")
COMFYUI_FILE = "comfyui_lora.safetensors"


def write_export(
    pipeline: Any, tuning: Tuning, options: ModelOptions, directory: Path, to: str
) -> str:
    """Write what was trained into ``directory``; return how it is loaded, in one line.

    Args:
        pipeline: diffusers' pipeline, loaded from a directory; it is left as it is.
        tuning: What of its transformer is trained.
        options: The backbone's.
        directory: An empty directory.
        to: One of ``FORMATS``.

    Raises:
        GuardcoreError: Another format, or one that can't hold what was trained.
    """
    if to == "diffusers":
        tuning.save(directory)
        network = type(pipeline.transformer).__name__
        return "pipeline.load_lora_weights" if options.lora else f"{network}.from_pretrained"
    if to == "comfyui":
        save_file(comfyui_lora(tuning, options.lora), directory / COMFYUI_FILE)
        return "copy the file into ComfyUI's models/loras, then Load LoRA (model only)"
    if to == "merged":
        _save_merged(pipeline, directory)
        return f"{type(pipeline).__name__}.from_pretrained"
    raise GuardcoreError(f"--to {to!r}: this backbone writes {', '.join(FORMATS)}")


def comfyui_lora(tuning: Tuning, lora: LoraOptions | None) -> dict[str, Tensor]:
    """Return adapters under the names that ComfyUI knows, each layer with its ``alpha``.

    ComfyUI maps diffusers' names behind ``transformer.`` (``comfy/lora.py``). It reads no
    metadata: without a tensor ``….alpha`` it scales by 1 in place of alpha/rank.

    Raises:
        GuardcoreError: The whole transformer was trained.
    """
    if lora is None:
        raise GuardcoreError(
            "--to comfyui writes a LoRA, and this run trained the whole transformer; export --to "
            "diffusers: ComfyUI's Load Diffusion Model reads that file (up to 10 GB it is one)"
        )
    factors = tuning.trainable()
    tensors = {f"transformer.{n}": p.detach().cpu().contiguous() for n, p in factors.items()}
    layers = {name.rpartition(".lora_")[0] for name in tensors}
    return tensors | {f"{layer}.alpha": torch.tensor(float(lora.alpha)) for layer in layers}


def _save_merged(pipeline: Any, directory: Path) -> None:
    """Write a whole pipeline: the transformer anew, all else as the model's own files have it."""
    source = Path(pipeline.name_or_path)
    for name in present_components(source):
        if name != "transformer":
            shutil.copytree(source / name, directory / name)
    shutil.copy(source / "model_index.json", directory)
    _merged(pipeline.transformer).save_pretrained(directory / "transformer")


def _merged(transformer: Any) -> Any:
    """Return a transformer with the adapters in its weights; all other tensors are shared."""
    config = {key: value for key, value in transformer.config.items() if key != "_name_or_path"}
    with quiet(), torch.device("meta"):
        twin = type(transformer).from_config(config)
    twin.load_state_dict(merged_state(transformer), assign=True)
    return twin


def merged_state(transformer: Any) -> Mapping[str, Tensor]:
    """Return a transformer's tensors, ``W + alpha/rank·B·A`` for each adapted layer.

    Added in float32 and rounded once to the base's precision.

    Raises:
        GuardcoreError: The base is quantised, so that W is not there.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    state = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in transformer.state_dict().items()
        if ".lora_" not in name
    }
    for name, layer in transformer.named_modules():
        if isinstance(layer, BaseTunerLayer):
            weight = state[f"{name}.weight"]
            if not weight.is_floating_point():
                raise GuardcoreError(
                    f"--to merged needs whole weights, and {name} is quantised ({weight.dtype}); "
                    "add --set backbone.quantization=null"
                )
            (adapter,) = layer.active_adapters
            delta = layer.get_delta_weight(adapter)
            state[f"{name}.weight"] = (weight.float() + delta.float()).to(weight.dtype)
    return state
