"""The precision in which a transformer computes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from guardcore_plugins.backbones.options import ModelOptions


@contextmanager
def arithmetic(options: ModelOptions, device: torch.device) -> Iterator[None]:
    """Inside, full fine-tuning in half precision computes in half, on its float32 weights."""
    if options.lora is not None or options.dtype == "float32":
        yield
        return
    with torch.autocast(device.type, getattr(torch, options.dtype)), warnings.catch_warnings():
        # FLUX's norms have weights and stay float32 under autocast, which torch finds slow
        warnings.filterwarnings("ignore", "Mismatch dtype between input and weight")
        yield
