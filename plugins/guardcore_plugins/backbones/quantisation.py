"""Frozen weights in 8 or 4 bit, by diffusers' own loading with bitsandbytes.

Left out: torchao, whose 4-bit kernels have no backward pass to an adapter.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from guardcore import GuardcoreError
from guardcore_plugins.backbones.quiet import first_line, quiet

PACKAGE = "bitsandbytes"
WHOLE = ("x_embedder", "context_embedder", "time_text_embed", "norm_out")
"""Layers outside the blocks that stay whole: small, and what they round every block sees."""


def load_quantised(directory: Path, bits: str, dtype: torch.dtype, device: torch.device) -> Any:
    """Load a transformer whose linear layers are rounded as they are read.

    What is no linear layer, and what arithmetic is done in, has precision ``dtype``.

    Args:
        directory: The pipeline's.
        bits: ``"8bit"`` or ``"4bit"``.
        dtype: Precision of the rest.
        device: Where it goes: the weights are rounded there.

    Raises:
        GuardcoreError: A file is missing or damaged.
    """
    from diffusers import AutoModel

    try:
        with quiet():
            network = AutoModel.from_pretrained(
                str(directory),
                subfolder="transformer",
                torch_dtype=dtype,
                quantization_config=_config(bits, dtype),
                device_map={"": device},
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise GuardcoreError(
            f"backbone.model: cannot load {directory} in {bits}: {first_line(error)}"
        ) from error
    logging.getLogger(PACKAGE).setLevel(logging.ERROR)  # else a line a layer: 8-bit casts inputs
    for module in network.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # else the first forward without gradient repacks the weights, for good, and one with
            # gradient then finds them unreadable; a CPU's shortcut only
            module.support_avx512bf16_for_cpu = False
    return network


def check_available(device: torch.device) -> None:
    """Refuse what diffusers would refuse, in one line.

    Raises:
        GuardcoreError: bitsandbytes is not installed, or there is no CUDA device.
    """
    if find_spec(PACKAGE) is None:
        raise GuardcoreError(
            f"backbone.quantization needs {PACKAGE}: pip install 'guardcore[quantization]'"
        )
    if device.type != "cuda":
        raise GuardcoreError(
            f"backbone.quantization: diffusers quantises on a CUDA device only, received "
            f"{str(device)!r}; leave the option out"
        )


def _config(bits: str, dtype: torch.dtype) -> Any:
    from diffusers import BitsAndBytesConfig

    if bits == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=list(WHOLE))
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=list(WHOLE),
    )
