"""What ComfyUI makes of a LoRA file, from its published mapping; facts, not its code.

Sources: ``comfy/utils.py`` (``flux_to_diffusers``, ``mmdit_to_diffusers``: diffusers' layer to
ComfyUI's module and the rows of it, in hidden widths), ``comfy/lora.py`` (``transformer.`` before
diffusers' name), ``comfy/weight_adapter/lora.py`` (``….lora_A.weight``, ``….lora_B.weight``,
``….alpha``; ``W + alpha/rank·B·A``, the factor 1 where no alpha is given).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

FLUX_JOINT = {
    "attn.to_q": ("img_attn.qkv", 0, 1),
    "attn.to_k": ("img_attn.qkv", 1, 1),
    "attn.to_v": ("img_attn.qkv", 2, 1),
    "attn.add_q_proj": ("txt_attn.qkv", 0, 1),
    "attn.add_k_proj": ("txt_attn.qkv", 1, 1),
    "attn.add_v_proj": ("txt_attn.qkv", 2, 1),
    "attn.to_out.0": ("img_attn.proj", 0, 1),
    "attn.to_add_out": ("txt_attn.proj", 0, 1),
    "ff.net.0.proj": ("img_mlp.0", 0, 4),
    "ff.net.2": ("img_mlp.2", 0, 1),
    "ff_context.net.0.proj": ("txt_mlp.0", 0, 4),
    "ff_context.net.2": ("txt_mlp.2", 0, 1),
}
FLUX_SINGLE = {
    "attn.to_q": ("linear1", 0, 1),
    "attn.to_k": ("linear1", 1, 1),
    "attn.to_v": ("linear1", 2, 1),
    "proj_mlp": ("linear1", 3, 4),
    "proj_out": ("linear2", 0, 1),
}
SD3_JOINT = {
    "attn.to_q": ("x_block.attn.qkv", 0, 1),
    "attn.to_k": ("x_block.attn.qkv", 1, 1),
    "attn.to_v": ("x_block.attn.qkv", 2, 1),
    "attn.add_q_proj": ("context_block.attn.qkv", 0, 1),
    "attn.add_k_proj": ("context_block.attn.qkv", 1, 1),
    "attn.add_v_proj": ("context_block.attn.qkv", 2, 1),
    "attn.to_out.0": ("x_block.attn.proj", 0, 1),
    "attn.to_add_out": ("context_block.attn.proj", 0, 1),
    "attn2.to_q": ("x_block.attn2.qkv", 0, 1),
    "attn2.to_k": ("x_block.attn2.qkv", 1, 1),
    "attn2.to_v": ("x_block.attn2.qkv", 2, 1),
    "attn2.to_out.0": ("x_block.attn2.proj", 0, 1),
    "ff.net.0.proj": ("x_block.mlp.fc1", 0, 4),
    "ff.net.2": ("x_block.mlp.fc2", 0, 1),
    "ff_context.net.0.proj": ("context_block.mlp.fc1", 0, 4),
    "ff_context.net.2": ("context_block.mlp.fc2", 0, 1),
}
FAMILIES = {
    "FluxTransformer2DModel": {
        "transformer_blocks": ("double_blocks", FLUX_JOINT),
        "single_transformer_blocks": ("single_blocks", FLUX_SINGLE),
    },
    "SD3Transformer2DModel": {"transformer_blocks": ("joint_blocks", SD3_JOINT)},
}

Place = tuple[str, int, int]
"""A module of ComfyUI's, the first of its rows and how many."""


def places(transformer: torch.nn.Module) -> dict[str, Place]:
    """Where ComfyUI keeps the layers of a diffusers transformer, by diffusers' name."""
    families, width = FAMILIES[type(transformer).__name__], transformer.inner_dim
    found = {}
    for name, _ in transformer.named_modules():
        match = re.fullmatch(r"(\w+)\.(\d+)\.(.+)", name)
        if match and match[1] in families and match[3] in families[match[1]][1]:
            family, table = families[match[1]]
            module, first, rows = table[match[3]]
            place = f"diffusion_model.{family}.{match[2]}.{module}", first * width, rows * width
            found[name] = place
    return found


@torch.no_grad()
def apply(file: Mapping[str, Tensor], transformer: torch.nn.Module) -> list[str]:
    """Patch a transformer as ComfyUI patches its own; return the keys that it didn't use."""
    where, left = places(transformer), set(file)
    modules = _fused(transformer, where)
    for name, (module, first, rows) in where.items():
        key = f"transformer.{name}"
        names = f"{key}.lora_B.weight", f"{key}.lora_A.weight", f"{key}.alpha"
        left -= set(names)
        if names[0] in file:
            up, down = (file[factor].float() for factor in names[:2])
            scale = file[names[2]].item() / len(down) if names[2] in file else 1.0
            modules[module].narrow(0, first, rows).add_(scale * up @ down)
    for name, (module, first, rows) in where.items():
        transformer.get_submodule(name).weight.copy_(modules[module].narrow(0, first, rows))
    return sorted(left)


def _fused(transformer: torch.nn.Module, where: Mapping[str, Place]) -> dict[str, Tensor]:
    """ComfyUI's weights: those of several layers one below the other."""
    parts: dict[str, list[tuple[int, Tensor]]] = {}
    for name, (module, first, rows) in where.items():
        weight = transformer.get_submodule(name).weight
        assert len(weight) == rows, name
        parts.setdefault(module, []).append((first, weight))
    return {
        module: torch.cat([weight for _, weight in sorted(found, key=lambda part: part[0])])
        for module, found in parts.items()
    }
