"""The tiny SD3: joint attention of picture and words, two CLIP text encoders, no T5."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection

from guardcore_plugins.tiny_world.model import (
    LATENT_SIZE,
    Widths,
    build_text_encoder,
    token_ids,
    zero,
)
from guardcore_plugins.tiny_world.tokens import MAX_LENGTH, train_tokenizer

SHIFT = 1.0  # of the schedule's sigmas; 1024 latent dimensions need none


class TinySD3(nn.Module):
    """Both text encoders and the transformer."""

    # Zero tokens in T5's place, and how often: their number changes the attention's softmax, so the
    # model is trained to ignore anything from one (fast) to diffusers' default of 256.
    paddings: Mapping[int, float] = {1: 0.90, 4: 0.04, 16: 0.03, 64: 0.02, 256: 0.01}

    def __init__(self, widths: Widths, captions: list[str]) -> None:
        super().__init__()
        self.tokenizer = train_tokenizer(captions)
        self.text_encoder, self.text_encoder_2 = (
            build_text_encoder(CLIPTextModelWithProjection, widths, self.tokenizer, activation)
            for activation in ("quick_gelu", "gelu")
        )
        self.transformer = build_transformer(widths)

    def token_ids(self, captions: list[str]) -> Tensor:
        """Ids `[B, MAX_LENGTH]`, padded with the end token."""
        return token_ids(self.tokenizer, captions, MAX_LENGTH)

    def condition(self, ids: Tensor, padding: int) -> tuple[Tensor, Tensor]:
        """What the pipeline's `encode_prompt` gives without T5, with gradients.

        Args:
            ids: Token ids `[B, MAX_LENGTH]`.
            padding: Zero tokens in T5's place; diffusers' `max_sequence_length`.

        Returns:
            Embeddings `[B, MAX_LENGTH + padding, 2 * width]` and the pooled projections
            `[B, 2 * width]`.
        """
        encoders = (self.text_encoder, self.text_encoder_2)
        outputs = [encoder(ids, output_hidden_states=True) for encoder in encoders]
        hidden = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
        pooled = torch.cat([output.text_embeds for output in outputs], dim=-1)
        zeros = hidden.new_zeros(len(ids), padding, hidden.shape[-1])
        return torch.cat([hidden, zeros], dim=1), pooled

    def forward(self, x: Tensor, sigma: Tensor, ids: Tensor, padding: int) -> Tensor:
        """Velocity `[B, 16, 8, 8]` at noise level sigma `[B]` for token ids `[B, L]`."""
        embeddings, pooled = self.condition(ids, padding)
        velocity: Tensor = self.transformer(
            x, embeddings, pooled, timestep=1000 * sigma, return_dict=False
        )[0]
        return velocity

    def pipeline(self, vae: AutoencoderKL) -> StableDiffusion3Pipeline:
        """The diffusers pipeline of these parts."""
        return StableDiffusion3Pipeline(
            transformer=self.transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT),
            vae=vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            text_encoder_2=self.text_encoder_2,
            tokenizer_2=self.tokenizer,
            text_encoder_3=None,
            tokenizer_3=None,
        )


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
    zero([transformer.proj_out, transformer.norm_out.linear])
    for block in transformer.transformer_blocks:
        zero([block.norm1.linear, block.norm1_context.linear])
    return transformer
