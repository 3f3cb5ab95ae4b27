"""What the tiny models share: sizes, autoencoder, text encoder, tokens, and how they are saved."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from diffusers import AutoencoderKL
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTokenizer

from guardcore_plugins.tiny_world.tokens import MAX_LENGTH

LATENT_SIZE = 8  # 64 pixels / 8

Encoder = TypeVar("Encoder")


@dataclass(frozen=True)
class Widths:
    """The sizes of the networks; ``flux_layers`` are joint and single blocks."""

    vae_channels: tuple[int, ...] = (16, 32, 64, 64)
    text_width: int = 64
    text_layers: int = 2
    heads: int = 4
    layers: int = 4
    flux_layers: tuple[int, int] = (2, 2)


class TextToLatent(Protocol):
    """A module: text encoders and transformer of one architecture, to train and save as one."""

    paddings: Mapping[int, float]

    def token_ids(self, captions: list[str]) -> Tensor:
        """Return ids ``[B, L]``."""

    def __call__(self, x: Tensor, sigma: Tensor, ids: Tensor, padding: int) -> Tensor:
        """Return the velocity ``[B, 16, 8, 8]`` at noise level ``sigma [B]``."""

    def pipeline(self, vae: AutoencoderKL) -> Any:
        """Return the diffusers pipeline of these networks."""


def build_vae(widths: Widths) -> AutoencoderKL:
    """An autoencoder with the shape of SD3's and FLUX's."""
    levels = len(widths.vae_channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=widths.vae_channels,
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=8,
        sample_size=64,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def build_text_encoder(
    model_class: type[Encoder], widths: Widths, tokenizer: CLIPTokenizer, activation: str
) -> Encoder:
    """A CLIP text encoder; its end token's true id makes transformers pool at the first end."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=widths.text_width,
        intermediate_size=4 * widths.text_width,
        projection_dim=widths.text_width,
        num_hidden_layers=widths.text_layers,
        num_attention_heads=widths.text_width // 32,
        max_position_embeddings=MAX_LENGTH,
        hidden_act=activation,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model_class(config)  # type: ignore[call-arg]


def zero(layers: Iterable[nn.Linear]) -> None:
    """Start gates and the last layer at zero: each block is the identity, as in DiT."""
    for layer in layers:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


def token_ids(tokenizer: Any, captions: list[str], length: int) -> Tensor:
    """Ids ``[B, length]``, padded and cut."""
    batch = tokenizer(
        captions, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    )
    ids: Tensor = batch.input_ids
    return ids


def save_pipeline(pipeline: Any, folder: Path) -> None:
    """Write the pipeline, its large parts in half precision, aside first, then in one rename."""
    aside = folder.with_name(folder.name + ".new")
    shutil.rmtree(aside, ignore_errors=True)
    pipeline.transformer.half()
    pipeline.vae.half()  # text encoders stay: transformers would load halves as halves
    pipeline.save_pretrained(aside)
    for path in aside.rglob("*.safetensors"):
        path.chmod(0o644)  # written 0600, which a wheel would keep
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
