"""A pipeline's modules on the ``meta`` device, in the precision in which they would be loaded."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import Module

from guardcore import GuardcoreError
from guardcore_plugins.backbones.quiet import first_line, quiet
from guardcore_plugins.backbones.shapes import Shapes


def meta_pipeline(pipeline_class: Any, shapes: Shapes, dtype: torch.dtype) -> Any:
    """Return a pipeline without weights or tokenizers, frozen and in evaluation mode.

    Raises:
        GuardcoreError: A config that its class doesn't take.
    """
    components = dict.fromkeys(pipeline_class._get_signature_keys(pipeline_class)[0])
    with quiet():
        for name, config in shapes.items():
            try:
                components[name] = _component(dict(config), dtype)
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                raise GuardcoreError(
                    f"backbone.model: its {name} can't be built from its config: "
                    f"{first_line(error)}"
                ) from error
        return pipeline_class(**components)


def _component(config: dict[str, Any], dtype: torch.dtype) -> Any:
    import diffusers
    import transformers

    name = config.pop("_class_name")
    if hasattr(diffusers, name):
        with torch.device("meta"):
            component = getattr(diffusers, name).from_config(config)
    else:
        kind = getattr(transformers, name)
        with torch.device("meta"):
            component = kind(kind.config_class.from_dict(config))
    return _cast(component, dtype) if isinstance(component, Module) else component


def _cast(module: Any, dtype: torch.dtype) -> Any:
    """Cast as ``from_pretrained`` does: T5's ``wo`` stays in float32 where the rest is float16."""
    module.requires_grad_(False).eval()
    kept = module._keep_in_fp32_modules or () if dtype == torch.float16 else ()
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_floating_point():
            whole = any(part in kept for part in name.split("."))
            tensor.data = tensor.data.to(torch.float32 if whole else dtype)
    return module
