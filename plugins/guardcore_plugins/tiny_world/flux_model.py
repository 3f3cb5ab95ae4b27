"""The tiny FLUX: joint blocks, then single ones; T5's words and CLIP's summary of them.

Guidance is an input, learnt by distillation, as in FLUX.1-dev.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
)
from torch import Tensor, nn
from transformers import CLIPTextModel, T5Config, T5EncoderModel, T5Tokenizer

from guardcore_plugins.tiny_world.model import Widths, build_text_encoder, token_ids, zero
from guardcore_plugins.tiny_world.tokens import MAX_LENGTH, train_tokenizer, train_word_tokenizer

WORDS = 16  # T5 tokens that hold every caption


class TinyFlux(nn.Module):
    """Both text encoders and the transformer."""

    # T5 tokens with padding, and how often: padding is attended to, so the model is trained to
    # ignore it from 16 tokens (fast) to diffusers' default of 512.
    paddings: Mapping[int, float] = {WORDS: 0.95, 32: 0.03, 64: 0.01, 256: 0.006, 512: 0.004}

    def __init__(self, widths: Widths, captions: list[str]) -> None:
        super().__init__()
        self.tokenizer = train_tokenizer(captions)
        self.tokenizer_2 = train_word_tokenizer(captions)
        self.text_encoder = build_text_encoder(CLIPTextModel, widths, self.tokenizer, "quick_gelu")
        self.text_encoder_2 = build_t5(widths, self.tokenizer_2)
        self.transformer = build_transformer(widths)

    def token_ids(self, captions: list[str]) -> Tensor:
        """Ids `[B, MAX_LENGTH + WORDS]`: CLIP's, then T5's."""
        clip = token_ids(self.tokenizer, captions, MAX_LENGTH)
        return torch.cat([clip, token_ids(self.tokenizer_2, captions, WORDS)], dim=1)

    def condition(self, ids: Tensor, padding: int) -> tuple[Tensor, Tensor]:
        """What the pipeline's `encode_prompt` gives, with gradients.

        Args:
            ids: What `token_ids` returned.
            padding: T5 tokens in all; diffusers' `max_sequence_length`.

        Returns:
            Embeddings `[B, padding, width]` and the pooled ones `[B, width]`.
        """
        clip, words = ids[:, :MAX_LENGTH], ids[:, MAX_LENGTH:]
        filler = words.new_full((len(ids), padding - WORDS), self.tokenizer_2.pad_token_id)
        embeddings: Tensor = self.text_encoder_2(torch.cat([words, filler], dim=1))[0]
        return embeddings, self.text_encoder(clip).pooler_output

    def forward(
        self, x: Tensor, sigma: Tensor, ids: Tensor, padding: int, guidance: Tensor | None = None
    ) -> Tensor:
        """Velocity `[B, 16, 8, 8]` at noise level sigma `[B]`; guidance `[B]` is 1 by default."""
        embeddings, pooled = self.condition(ids, padding)
        batch, channels, rows, columns = x.shape
        packed = FluxPipeline._pack_latents(x, batch, channels, rows, columns)
        packed_velocity = self.transformer(
            packed,
            embeddings,
            pooled,
            timestep=sigma,
            guidance=torch.ones_like(sigma) if guidance is None else guidance,
            img_ids=FluxPipeline._prepare_latent_image_ids(
                batch, rows // 2, columns // 2, x.device, x.dtype
            ),
            txt_ids=x.new_zeros(padding, 3),
            return_dict=False,
        )[0]
        velocity: Tensor = FluxPipeline._unpack_latents(packed_velocity, 8 * rows, 8 * columns, 8)
        return velocity

    def pipeline(self, vae: AutoencoderKL) -> FluxPipeline:
        """The diffusers pipeline of these parts."""
        return FluxPipeline(
            transformer=self.transformer,
            # no shift at 64 pixels (16 tokens), more for larger pictures, as FLUX.1-dev's
            scheduler=FlowMatchEulerDiscreteScheduler(
                use_dynamic_shifting=True,
                base_image_seq_len=16,
                max_image_seq_len=256,
                base_shift=0.0,
                max_shift=1.0,
            ),
            vae=vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            text_encoder_2=self.text_encoder_2,
            tokenizer_2=self.tokenizer_2,
        )


def build_t5(widths: Widths, tokenizer: T5Tokenizer) -> T5EncoderModel:
    """A T5 encoder, gated and without biases as T5 1.1 is."""
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=widths.text_width,
        d_kv=32,
        d_ff=2 * widths.text_width,
        num_layers=widths.text_layers,
        num_heads=widths.text_width // 32,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return T5EncoderModel(config)


def build_transformer(widths: Widths) -> FluxTransformer2DModel:
    """The velocity network: 16 image tokens at 64 pixels."""
    joint, single = widths.flux_layers
    transformer = FluxTransformer2DModel(
        in_channels=64,  # 16 latent channels in 2x2 patches
        num_layers=joint,
        num_single_layers=single,
        attention_head_dim=32,
        num_attention_heads=widths.heads,
        joint_attention_dim=widths.text_width,
        pooled_projection_dim=widths.text_width,
        guidance_embeds=True,
        axes_dims_rope=(8, 12, 12),
    )
    zero([transformer.proj_out, transformer.norm_out.linear])
    for block in transformer.transformer_blocks:
        zero([block.norm1.linear, block.norm1_context.linear])
    for block in transformer.single_transformer_blocks:
        zero([block.norm.linear])
    return transformer
