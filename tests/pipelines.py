"""Small random pipelines from configs, in diffusers' own classes: SD3 and FLUX."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

CORPUS = ["a red circle left of two blue squares", 'the number "407"', "three green triangles"]
JOINT_WIDTH = 64  # at least both CLIP widths together, else SD3's padding crops them


def byte_level_tokenizer(start: bool, length: int) -> PreTrainedTokenizerFast:
    """A BPE tokenizer over bytes, learnt in memory: CLIP's with a start token, T5's without."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        show_progress=False,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>" if start else "$A </s>",
        special_tokens=[("<s>", 1), ("</s>", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>" if start else "<pad>",
        model_max_length=length,
    )


def clip(tokenizer: PreTrainedTokenizerFast, width: int, projection: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=projection,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def t5(tokenizer: PreTrainedTokenizerFast) -> Any:
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=JOINT_WIDTH,
        d_kv=16,
        d_ff=64,
        num_layers=1,
        num_heads=2,
        feed_forward_proj="gated-gelu",
    )
    return T5EncoderModel(config)


def sd3_transformer() -> Any:
    return SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=JOINT_WIDTH,
        caption_projection_dim=32,
        pooled_projection_dim=12 + 20,
        pos_embed_max_size=8,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )


def vae() -> Any:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=1.5,
        shift_factor=0.06,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def sd3_pipeline(with_t5: bool, **scheduler: Any) -> Any:
    torch.manual_seed(7)
    first, second = (byte_level_tokenizer(start=True, length=24) for _ in range(2))
    third = byte_level_tokenizer(start=False, length=64) if with_t5 else None
    return StableDiffusion3Pipeline(
        transformer=sd3_transformer(),
        scheduler=FlowMatchEulerDiscreteScheduler(**scheduler),
        vae=vae(),
        text_encoder=CLIPTextModelWithProjection(clip(first, width=16, projection=12)),
        tokenizer=first,
        text_encoder_2=CLIPTextModelWithProjection(clip(second, width=24, projection=20)),
        tokenizer_2=second,
        text_encoder_3=t5(third) if third else None,
        tokenizer_3=third,
    )


def flux_transformer(guidance: bool) -> Any:
    return FluxTransformer2DModel(
        in_channels=4 * 4,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=JOINT_WIDTH,
        pooled_projection_dim=16,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 6, 6),
    )


def flux_pipeline(guidance: bool, **scheduler: Any) -> Any:
    torch.manual_seed(7)
    first = byte_level_tokenizer(start=True, length=24)
    second = byte_level_tokenizer(start=False, length=64)
    return FluxPipeline(
        transformer=flux_transformer(guidance),
        scheduler=FlowMatchEulerDiscreteScheduler(**scheduler),
        vae=vae(),
        text_encoder=CLIPTextModel(clip(first, width=16, projection=16)),
        tokenizer=first,
        text_encoder_2=t5(second),
        tokenizer_2=second,
    )
