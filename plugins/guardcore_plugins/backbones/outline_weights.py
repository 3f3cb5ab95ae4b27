"""The bytes of frozen weights on the device, by precision, quantisation and offloading."""

from __future__ import annotations

from collections.abc import Collection

from torch.nn import Linear, Module

from guardcore_plugins.backbones.memory_options import ModelOptions
from guardcore_plugins.backbones.offloading import repeated_blocks
from guardcore_plugins.backbones.quantisation import WHOLE

# bitsandbytes: LLM.int8 keeps one float32 a row; NF4 one float32 a block of 64 weights
_ROW_SCALE = 4
_NF4_BYTES = 0.5 + 4 / 64


def weight_bytes(module: Module, quantization: str | None = None) -> int:
    """Return the bytes of a module's frozen weights and buffers."""
    quantised = _linear_weights(module) if quantization else ()
    total = 0.0
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.requires_grad:
            continue
        if id(tensor) not in quantised:
            total += tensor.numel() * tensor.element_size()
        elif quantization == "8bit":
            total += tensor.numel() + _ROW_SCALE * tensor.shape[0]
        else:
            total += tensor.numel() * _NF4_BYTES
    return int(total)


def network_bytes(network: Module, options: ModelOptions) -> int:
    """Return the bytes of the transformer's frozen weights that are on the device at once.

    Offloaded blocks take turns there: one is being used, and the next one's copy may have begun
    before it is gone.
    """
    whole = weight_bytes(network, options.quantization)
    if options.offload is None:
        return whole
    blocks = [weight_bytes(block) for block in repeated_blocks(network)]
    return whole - sum(blocks) + max(blocks)


def _linear_weights(module: Module) -> Collection[int]:
    linear = [
        child
        for name, child in module.named_modules()
        if isinstance(child, Linear) and name.partition(".")[0] not in WHOLE
    ]
    return {id(layer.weight) for layer in linear if not layer.weight.requires_grad}
