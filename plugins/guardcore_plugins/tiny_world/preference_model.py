"""The tiny preference model: a CLIP of the class that PickScore is, for 64-pixel images."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from guardcore_plugins.tiny_world.drawing import PATCH, SIZE
from guardcore_plugins.tiny_world.tokens import MAX_LENGTH

MEAN = STD = 0.5
"""Of the normalisation, for each colour: images in [0, 1] become [-1, 1]."""


@dataclass(frozen=True)
class ClipWidths:
    """The sizes of both towers; a head of attention is 32 wide."""

    vision: int = 128
    vision_layers: int = 4
    text: int = 64
    text_layers: int = 2
    joint: int = 64


def build_clip(widths: ClipWidths, tokenizer: CLIPTokenizer) -> CLIPModel:
    """A CLIP with random weights, patches as in the drawings."""
    text = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": MAX_LENGTH,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **_tower(widths.text, widths.text_layers),
    }
    vision = {
        "image_size": SIZE,
        "patch_size": PATCH,
        **_tower(widths.vision, widths.vision_layers),
    }
    return CLIPModel(
        CLIPConfig(text_config=text, vision_config=vision, projection_dim=widths.joint)
    )


def _tower(width: int, layers: int) -> dict[str, int]:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 32,
    }


def embed(model: CLIPModel, images: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors of images ``[B, 3, 64, 64]`` in [0, 1] and of token ids ``[C, L]``."""
    pooled = model.vision_model((images - MEAN) / STD).pooler_output, model.text_model(ids)[1]
    seen, said = model.visual_projection(pooled[0]), model.text_projection(pooled[1])
    return seen / seen.norm(dim=1, keepdim=True), said / said.norm(dim=1, keepdim=True)


def save_clip(
    model: CLIPModel, weights: dict[str, Tensor], tokenizer: CLIPTokenizer, folder: Path
) -> None:
    """Write model, tokenizer and preprocessing in half precision, aside first, then renamed."""
    aside = folder.with_name(folder.name + ".new")
    shutil.rmtree(aside, ignore_errors=True)
    twin = copy.deepcopy(model)
    twin.load_state_dict(weights)
    twin.half().save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    text = json.dumps(_preprocessing(), indent=2) + "\n"
    (aside / "preprocessor_config.json").write_text(text, encoding="utf-8")
    for path in aside.iterdir():
        path.chmod(0o644)  # weights are written 0600, which a wheel would keep
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def _preprocessing() -> dict[str, object]:
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": SIZE},
        "resample": 3,  # PIL's bicubic
        "do_center_crop": True,
        "crop_size": {"height": SIZE, "width": SIZE},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [MEAN] * 3,
        "image_std": [STD] * 3,
    }
