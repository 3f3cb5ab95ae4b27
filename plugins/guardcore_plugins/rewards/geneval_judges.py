"""GenEval's judges out of transformers, loaded: Mask2Former for objects, CLIP for colours."""

from __future__ import annotations

import torch

from guardcore_plugins.backbones.quiet import quiet
from guardcore_plugins.devices import pick_device
from guardcore_plugins.rewards.color import ColorNamer
from guardcore_plugins.rewards.geneval import GenEvalOptions
from guardcore_plugins.rewards.mask2former import Mask2Former
from guardcore_plugins.rewards.pretrained import load, load_model

with quiet():  # transformers' image processors ask for torchvision on import; PIL does here
    from transformers import (
        AutoImageProcessor,
        AutoTokenizer,
        CLIPModel,
        Mask2FormerForUniversalSegmentation,
    )


def mask2former(options: GenEvalOptions) -> Mask2Former:
    """Load the detector and its colours.

    Raises:
        GuardcoreError: A model can't be fetched or loaded, or there is no such device.
    """
    where, kept = "reward geneval.model", "reward geneval.device"
    device, dtype = pick_device(options.device, kept), getattr(torch, options.dtype)
    network = load_model(
        Mask2FormerForUniversalSegmentation, options.model, where, device=device, dtype=dtype
    )
    processor = load(AutoImageProcessor, options.model, where)
    return Mask2Former(
        network,
        mean=processor.image_mean,
        std=processor.image_std,
        color=color_namer(options.clip, device, dtype),
        floor=min(options.threshold, options.counting_threshold),
        shortest_side=options.shortest_side,
        batch_size=options.batch_size,
    )


def color_namer(model: str, device: torch.device, dtype: torch.dtype) -> ColorNamer:
    """Load a CLIP that names colours, for any detector.

    Raises:
        GuardcoreError: As above.
    """
    where = "reward geneval.clip"
    clip = load_model(CLIPModel, model, where, device=device, dtype=dtype)
    return ColorNamer(
        clip, load(AutoTokenizer, model, where), load(AutoImageProcessor, model, where)
    )
