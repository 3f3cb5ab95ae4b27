"""From a config to a pipeline in memory, its trained part chosen; one line when it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from guardcore import GuardcoreError
from guardcore_plugins.backbones.full import FullTuning
from guardcore_plugins.backbones.half_gradients import rescale_gradients
from guardcore_plugins.backbones.kernels import compile_blocks, set_attention
from guardcore_plugins.backbones.lora import LoraTuning
from guardcore_plugins.backbones.offloading import offload_blocks
from guardcore_plugins.backbones.options import ModelOptions
from guardcore_plugins.backbones.quantisation import check_available, load_quantised
from guardcore_plugins.backbones.quiet import first_line, quiet
from guardcore_plugins.backbones.source import (
    OPTIONAL,
    absent_components,
    check_directory,
    locate,
    present_components,
)
from guardcore_plugins.backbones.tuning import Tuning
from guardcore_plugins.devices import pick_device

SCHEDULER = "FlowMatchEulerDiscreteScheduler"


def load(pipeline_class: Any, options: ModelOptions) -> tuple[Any, Tuning]:
    """Return the pipeline on its device and what of its transformer is trained.

    Adapters start from torch's global generator, on the CPU: one draw for every device.

    Raises:
        GuardcoreError: The model can't be fetched or loaded, or there is no such device or layer.
    """
    device, dtype = pick_device(options.device, "backbone.device"), getattr(torch, options.dtype)
    directory = fetch(options.model, pipeline_class)
    dtypes = {"default": dtype, "transformer": dtype if options.lora else torch.float32}
    given: dict[str, Any] = {}
    if options.text_encoders == "cache":
        names = present_components(directory)
        given |= dict.fromkeys(name for name in names if name.startswith("text_encoder"))
    if options.quantization is not None:
        check_available(device)
        given["transformer"] = load_quantised(directory, options.quantization, dtype, device)
    pipeline = load_pipeline(directory, pipeline_class, dtypes, **given)
    tuning = _tuning(pipeline, options, directory)
    equip(pipeline, tuning, options, device)
    return pipeline, tuning


def equip(pipeline: Any, tuning: Tuning, options: ModelOptions, device: torch.device) -> None:
    """Bring a pipeline to its device, and apply what trades time for memory."""
    network = pipeline.transformer
    if options.gradient_checkpointing:
        network.enable_gradient_checkpointing()  # acts in evaluation mode, too
    if options.attention is not None:
        set_attention(network, options.attention)
    if options.vae_tiling:
        pipeline.vae.enable_tiling()
    if options.dtype == "float16":
        rescale_gradients(network, tuning.trainable().values())
    if options.offload is not None:
        offload_blocks(network, device)
    _move(pipeline, network if options.offload or options.quantization else None, device)
    for parameter in tuning.trainable().values():
        parameter.data = parameter.data.to(device)
    if options.compile:
        compile_blocks(network, device)


def _move(pipeline: Any, placed: Any, device: torch.device) -> None:
    """Move a pipeline's modules, except the one that is placed already."""
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module) and component is not placed:
            with quiet():
                component.to(device)


def _tuning(pipeline: Any, options: ModelOptions, directory: Path) -> Tuning:
    lora = options.lora
    if lora is None:
        return FullTuning(pipeline, directory)
    start = Path(lora.start).expanduser() if lora.start is not None else None
    return LoraTuning(pipeline, lora.rank, lora.alpha, lora.targets, start)


def fetch(model: str, pipeline_class: Any) -> Path:
    """Return the model's directory; a hub model is downloaded into the hub's cache first.

    Raises:
        GuardcoreError: The hub refuses (gated, unknown name) or can't be reached.
    """
    directory = locate(model)
    if directory is not None:
        return directory
    try:
        with quiet(bars=True):  # gigabytes: here the bars are worth seeing
            return Path(pipeline_class.download(model))
    except Exception as error:  # OSError, httpx' and the hub client's own families
        raise GuardcoreError(
            f"backbone.model: cannot fetch {model!r} from the hub ({first_line(error)}); accept "
            f"its licence at https://huggingface.co/{model} and run `hf auth login`, or give a "
            "local directory"
        ) from error


def load_pipeline(
    directory: Path, pipeline_class: Any, dtypes: dict[str, torch.dtype], **given: Any
) -> Any:
    """Load a pipeline to the CPU, frozen and in evaluation mode.

    Args:
        directory: What ``save_pretrained`` wrote.
        pipeline_class: diffusers' class.
        dtypes: Per component name, and under ``"default"``.
        **given: Components that are loaded already, or None for those to leave out.

    Raises:
        GuardcoreError: A file is missing, damaged or of another model.
    """
    try:
        check_directory(directory, pipeline_class.__name__)
        # diffusers wants an explicit None for what the directory was saved without
        optional = OPTIONAL[pipeline_class.__name__]
        given = dict.fromkeys(absent_components(directory, optional)) | given
        with quiet():
            # torch_dtype, not dtype: diffusers before 0.39 knows no other name
            pipeline = pipeline_class.from_pretrained(directory, torch_dtype=dtypes, **given)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise GuardcoreError(
            f"backbone.model: cannot load {directory}: {first_line(error)}"
        ) from error
    _check_scheduler(directory, pipeline.scheduler)
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            component.requires_grad_(False).eval()
    return pipeline


def _check_scheduler(directory: Path, scheduler: Any) -> None:
    if type(scheduler).__name__ != SCHEDULER:
        raise GuardcoreError(
            f"backbone.model: {directory} has a {type(scheduler).__name__}, need a {SCHEDULER}"
        )
