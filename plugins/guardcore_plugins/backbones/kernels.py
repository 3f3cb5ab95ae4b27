"""Which attention kernel runs, and blocks compiled by torch."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guardcore import GuardcoreError
from guardcore_plugins.backbones.offloading import repeated_blocks
from guardcore_plugins.backbones.quiet import first_line, quiet

RECOMPILATIONS = 64
"""Graphs of one block class: kinds of block × shapes × adapters on or off; torch's limit is 8,
above which it goes back to uncompiled blocks in silence, another rounding in mid-run."""


def set_attention(network: Any, backend: str) -> None:
    """Switch to one of diffusers' attention backends.

    Raises:
        GuardcoreError: There is no such backend, it has no backward pass, a package is missing, or
            this transformer's attention can't be switched.
    """
    from diffusers.models.attention_dispatch import AttentionBackendName

    names = [member.value for member in AttentionBackendName if "sage" not in member.value]
    if backend not in names:
        why = "has no backward pass" if "sage" in backend else "is unknown"
        raise GuardcoreError(
            f"backbone.attention: {backend!r} {why}; there are {', '.join(sorted(names))}"
        )
    if not _switchable(network):
        raise GuardcoreError(
            f"backbone.attention: diffusers has no switch for a {type(network).__name__}, which "
            "always runs torch's scaled_dot_product_attention; leave the option out"
        )
    try:
        with quiet():
            network.set_attention_backend(backend)
    except (RuntimeError, ValueError, ImportError) as error:
        raise GuardcoreError(f"backbone.attention: {first_line(error)}") from error


def _switchable(network: Any) -> bool:
    processors = (getattr(module, "processor", None) for module in network.modules())
    return any(hasattr(processor, "_attention_backend") for processor in processors)


def compile_blocks(network: Any, device: torch.device) -> None:
    """Compile each repeated block, and have every forward run the graph of the update.

    torch compiles a block twice, with and without gradients, and fuses the two differently: in
    bfloat16 their velocities differ in the second digit, so a ratio would not be 1 before the
    first update. Under ``no_grad`` the forward therefore runs with gradients on and detaches what
    it returns; that needs, for its duration, the activations that an update keeps anyway.

    Raises:
        GuardcoreError: What compiling needs is not installed.
    """
    _check_compiler(device)
    torch._dynamo.config.recompile_limit = RECOMPILATIONS
    for block in repeated_blocks(network):
        block.compile(dynamic=False)
    forward = network.forward

    def as_in_the_update(*args: Any, **options: Any) -> Any:
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            output: tuple[Tensor, ...] = forward(*args, **options)
        return output if keep else tuple(tensor.detach() for tensor in output)

    network.forward = as_in_the_update


def _check_compiler(device: torch.device) -> None:
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        missing = [] if has_triton() else ["triton"]
    else:
        header = Path(sysconfig.get_path("include")) / "Python.h"
        missing = [] if shutil.which("g++") or shutil.which("clang++") else ["a C++ compiler"]
        missing += [] if header.is_file() else [f"Python's headers ({header})"]
    if missing:
        raise GuardcoreError(
            f"backbone.compile: torch.compile on {device.type} needs {' and '.join(missing)}; "
            "install it or set compile: false"
        )
