"""The backbones' outlines: the same classes as in a run, built on the ``meta`` device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from guardcore import Backbone, Condition, Outline, Part, Saving
from guardcore_plugins.backbones.full import FullTuning
from guardcore_plugins.backbones.lora import LoraTuning
from guardcore_plugins.backbones.options import FluxOptions, ModelOptions, SD3Options
from guardcore_plugins.backbones.outline_modules import meta_pipeline
from guardcore_plugins.backbones.outline_weights import network_bytes, weight_bytes
from guardcore_plugins.backbones.quiet import quiet
from guardcore_plugins.backbones.shapes import shapes_of
from guardcore_plugins.backbones.tuning import Tuning

_ENCODER = "text_encoder"
_CHECKPOINTING = "backbone.gradient_checkpointing"
_DECODED = "backbone.decode_batch"
_DTYPE = "backbone.dtype"
_OFFLOAD = "backbone.offload"
_QUANTIZATION = "backbone.quantization"
_TEXTS = "backbone.text_encoders"


def outline_sd3(options: SD3Options) -> Outline:
    """Return the outline of a ``StableDiffusion3Pipeline``."""
    with quiet():
        from diffusers import StableDiffusion3Pipeline

        from guardcore_plugins.backbones.sd3 import SD3

    def tokens(pipeline: Any) -> int:
        """CLIP's, then T5's or as many zeros."""
        clip: int = pipeline.text_encoder.config.max_position_embeddings
        return clip + options.max_sequence_length

    guided = options.guidance_scale > 1
    return _outline(StableDiffusion3Pipeline, SD3, options, tokens, guided)


def outline_flux(options: FluxOptions) -> Outline:
    """Return the outline of a ``FluxPipeline``."""
    with quiet():
        from diffusers import FluxPipeline

        from guardcore_plugins.backbones.flux import Flux

    return _outline(FluxPipeline, Flux, options, lambda _: options.max_sequence_length, False)


def _outline(
    pipeline_class: Any,
    backbone_class: Callable[[Any, Tuning, Any], Backbone],
    options: ModelOptions,
    tokens: Callable[[Any], int],
    negative: bool,
) -> Outline:
    """Return the outline of a diffusers pipeline.

    Args:
        pipeline_class: diffusers' class.
        backbone_class: Ours around it.
        options: The backbone's.
        tokens: From the pipeline to the length of a prompt's embedding.
        negative: Whether a condition holds a negative prompt, too.

    Raises:
        GuardcoreError: The shapes can't be read, or there is no such layer to adapt.
    """
    dtype = getattr(torch, options.dtype)
    pipeline = meta_pipeline(pipeline_class, shapes_of(options.model), dtype)
    tuning = _tuning(pipeline, options)
    if options.gradient_checkpointing:
        pipeline.transformer.enable_gradient_checkpointing()
    length = tokens(pipeline)

    def condition(rows: int, height: int, width: int) -> Condition:
        tensors = _prompt_tensors(pipeline.transformer.config, rows, length, dtype)
        if negative:  # one row for all
            one = _prompt_tensors(pipeline.transformer.config, 1, length, dtype)
            repeated = {f"negative_{name}": t.expand(rows, *t.shape[1:]) for name, t in one.items()}
            tensors |= repeated
        return Condition(tensors, height, width)

    # nothing is encoded here; and autocast knows no meta device: full fine-tuning in half precision
    # is traced on half weights, whose copies autocast keeps during a forward
    change = {"text_encoders": "keep"} | ({} if options.lora else {"dtype": "float32"})
    computing = options.model_copy(update=change)
    return Outline(
        backbone=backbone_class(pipeline, tuning, computing),
        parts=_parts(pipeline, options),
        condition=condition,
        savings=_savings(options),
        prepare_bytes=_encoder_bytes(pipeline) if options.text_encoders == "cache" else 0,
        reference_bytes=0 if options.lora else 4 * _parameters(pipeline.transformer),
    )


def _tuning(pipeline: Any, options: ModelOptions) -> Tuning:
    lora = options.lora
    if lora is None:
        return FullTuning(pipeline, Path(options.model))
    return LoraTuning(pipeline, lora.rank, lora.alpha, lora.targets)


def _prompt_tensors(config: Any, rows: int, length: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return embeddings ``[rows, length, D]`` and pooled ones ``[rows, P]``."""
    width, pooled = config.joint_attention_dim, config.pooled_projection_dim
    return {
        "prompt_embeds": torch.empty(rows, length, width, device="meta", dtype=dtype),
        "pooled_prompt_embeds": torch.empty(rows, pooled, device="meta", dtype=dtype),
    }


def _parts(pipeline: Any, options: ModelOptions) -> dict[str, Part]:
    parts = {"transformer": _transformer(pipeline.transformer, options)}
    for name, module in pipeline.components.items():
        if not isinstance(module, Module) or name in parts:
            continue
        dropped = name.startswith(_ENCODER) and options.text_encoders == "cache"
        note = "dropped, its embeddings are on disk" if dropped else options.dtype
        parts[name] = Part(module, 0 if dropped else weight_bytes(module), note)
    return parts


def _encoder_bytes(pipeline: Any) -> int:
    modules = pipeline.components.items()
    return sum(weight_bytes(m) for n, m in modules if isinstance(m, Module) and _ENCODER in n)


def _transformer(network: Module, options: ModelOptions) -> Part:
    if options.lora is None:
        half = options.dtype != "float32"
        held = 2 * _parameters(network) if half else 0
        return Part(network, held, "trained" + (f", copies in {options.dtype}" if half else ""))
    note: str = options.quantization or options.dtype
    if options.offload is not None:
        note += ", blocks in main memory"
    return Part(network, network_bytes(network, options), note)


def _savings(options: ModelOptions) -> list[Saving]:
    """Return what the options can do, the cheapest first."""
    savings = [Saving({_TEXTS: "cache"}, "disk space for the embeddings", "weights")]
    if options.dtype == "float32":
        savings.append(Saving({_DTYPE: "bfloat16"}, "weights rounded to 8 bits", "all"))
    savings.append(Saving({_CHECKPOINTING: True}, "the update's forwards run twice", "update"))
    savings.append(Saving({_DECODED: 1}, "the VAE draws one image at a time", "decode"))
    if options.lora is None:
        return savings
    offload = {_QUANTIZATION: None, _OFFLOAD: "blocks", _CHECKPOINTING: True}
    return [
        *savings,
        Saving({_QUANTIZATION: "8bit"}, "a rounded base, slower forwards", "weights", True),
        Saving({_QUANTIZATION: "4bit"}, "a coarsely rounded base", "weights", True),
        Saving(offload, "each block crosses the bus in each forward", "weights", True),
    ]


def _parameters(module: Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
