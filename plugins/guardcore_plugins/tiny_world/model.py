"""The tiny SD3: the modules, their assembly into a diffusers pipeline, and conditioning.

Same architecture as Stable Diffusion 3.5, smaller: an 8-fold VAE with 16 latent channels, two
CLIP text encoders, a joint-attention transformer with RMS query and key norms. No T5.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from guardcore_plugins.tiny_world.tokens import MAX_LENGTH

LATENT_SIZE = 8  # 64 pixels / 8
SHIFT = 1.0  # of the schedule's sigmas; 1024 latent dimensions need none


@dataclass(frozen=True)
class Widths:
    """The sizes of the networks."""

    vae_channels: tuple[int, ...] = (16, 32, 64, 64)
    text_width: int = 64
    text_layers: int = 2
    heads: int = 4
    layers: int = 4


def build_vae(widths: Widths) -> AutoencoderKL:
    """An autoencoder with the shape of SD3's."""
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
    widths: Widths, tokenizer: CLIPTokenizer, activation: str
) -> CLIPTextModelWithProjection:
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
    return CLIPTextModelWithProjection(config)


def build_transformer(widths: Widths) -> SD3Transformer2DModel:
    """The velocity network: 16 image tokens at 64 pixels, up to 128 pixels a side."""
    transformer = SD3Transformer2DModel(
        sample_size=LATENT_SIZE,
        patch_size=2,
        in_channels=16,
        num_layers=widths.layers,
        attention_head_dim=32,
        num_attention_heads=widths.heads,
        joint_attention_dim=2 * widths.text_width,
        caption_projection_dim=32 * widths.heads,
        pooled_projection_dim=2 * widths.text_width,
        pos_embed_max_size=8,
        qk_norm="rms_norm",
    )
    _zero_gates(transformer)
    return transformer


def _zero_gates(transformer: SD3Transformer2DModel) -> None:
    """Start each block as the identity and the velocity at zero, as DiT does."""
    layers: list[nn.Linear] = [transformer.proj_out, transformer.norm_out.linear]
    for block in transformer.transformer_blocks:
        layers += [block.norm1.linear, block.norm1_context.linear]
    for layer in layers:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


def assemble(
    vae: AutoencoderKL,
    tokenizer: CLIPTokenizer,
    encoders: tuple[CLIPTextModelWithProjection, CLIPTextModelWithProjection],
    transformer: SD3Transformer2DModel,
) -> StableDiffusion3Pipeline:
    """The diffusers pipeline of the parts."""
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT),
        vae=vae,
        text_encoder=encoders[0],
        tokenizer=tokenizer,
        text_encoder_2=encoders[1],
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )


def save_pipeline(pipeline: StableDiffusion3Pipeline, folder: Path) -> None:
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


def token_ids(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Ids `[B, MAX_LENGTH]`, padded with the end token."""
    batch = tokenizer(
        captions,
        padding="max_length",
        max_length=MAX_LENGTH,
        truncation=True,
        return_tensors="pt",
    )
    ids: Tensor = batch.input_ids
    return ids


def condition(
    encoders: tuple[CLIPTextModelWithProjection, CLIPTextModelWithProjection],
    ids: Tensor,
    padding: int,
) -> tuple[Tensor, Tensor]:
    """What the pipeline's `encode_prompt` gives without T5, with gradients.

    Args:
        encoders: Both text encoders.
        ids: Token ids `[B, MAX_LENGTH]`.
        padding: Zero tokens in T5's place; diffusers' `max_sequence_length`.

    Returns:
        Embeddings `[B, MAX_LENGTH + padding, 2 * width]` and the pooled projections
        `[B, 2 * width]`.
    """
    outputs = [encoder(ids, output_hidden_states=True) for encoder in encoders]
    hidden = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
    pooled = torch.cat([output.text_embeds for output in outputs], dim=-1)
    zeros = hidden.new_zeros(len(ids), padding, hidden.shape[-1])
    return torch.cat([hidden, zeros], dim=1), pooled
