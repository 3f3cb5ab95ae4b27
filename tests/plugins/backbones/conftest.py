"""Small random StableDiffusion3Pipelines on disk, and diffusers' own call as the judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from guardcore import Prompt, ode_step
from guardcore_plugins.backbones.options import SD3Options
from guardcore_plugins.backbones.plugin import sd3
from guardcore_plugins.backbones.sd3 import SD3

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


def clip(tokenizer: PreTrainedTokenizerFast, width: int, projection: int) -> Any:
    config = CLIPTextConfig(
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
    return CLIPTextModelWithProjection(config)


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


def transformer() -> Any:
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


def build_pipeline(with_t5: bool, **scheduler: Any) -> Any:
    torch.manual_seed(7)
    first, second = (byte_level_tokenizer(start=True, length=24) for _ in range(2))
    third = byte_level_tokenizer(start=False, length=64) if with_t5 else None
    return StableDiffusion3Pipeline(
        transformer=transformer(),
        scheduler=FlowMatchEulerDiscreteScheduler(**scheduler),
        vae=vae(),
        text_encoder=clip(first, width=16, projection=12),
        tokenizer=first,
        text_encoder_2=clip(second, width=24, projection=20),
        tokenizer_2=second,
        text_encoder_3=t5(third) if third else None,
        tokenizer_3=third,
    )


SHIFTED = {"shift": 3.0}
DYNAMIC = {"use_dynamic_shifting": True, "base_shift": 0.3, "max_shift": 1.9}


@pytest.fixture(scope="session")
def models_on_disk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories of two models: ``clip`` without T5, ``t5`` with it and a dynamic schedule."""
    root = tmp_path_factory.mktemp("models")
    build_pipeline(with_t5=False, **SHIFTED).save_pretrained(root / "clip")
    build_pipeline(with_t5=True, **DYNAMIC).save_pretrained(root / "t5")
    return {"clip": root / "clip", "t5": root / "t5"}


@pytest.fixture
def make(models_on_disk: dict[str, Path]) -> Callable[..., SD3]:
    """Build a backbone through the real factory; adapters start from a fixed seed."""

    def build(model: str = "clip", **options: Any) -> SD3:
        options = {"device": "cpu", "max_sequence_length": 32} | options
        path = str(models_on_disk.get(model, model))
        torch.manual_seed(0)
        backbone = sd3(SD3Options(model=path, **options))
        assert isinstance(backbone, SD3)
        return backbone

    return build


@pytest.fixture
def judge(models_on_disk: dict[str, Path]) -> Callable[..., Any]:
    """Load diffusers' own pipeline, independently of the backbone."""

    def load(model: str | Path = "clip", **options: Any) -> Any:
        directory = models_on_disk.get(str(model), model)
        options = dict.fromkeys(_absent(Path(directory))) | options
        pipeline = StableDiffusion3Pipeline.from_pretrained(directory, **options)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return load


def _absent(directory: Path) -> list[str]:
    names = ["text_encoder_3", "tokenizer_3"]
    return [name for name in names if not (directory / name).is_dir()]


@torch.no_grad()
def sample(
    backbone: SD3, texts: Sequence[str], latents: Tensor, height: int, width: int, steps: int = 4
) -> Tensor:
    """An ODE sample through the contract alone; images ``[B, 3, H, W]``."""
    condition = backbone.encode([Prompt(text) for text in texts], height, width)
    schedule = backbone.schedule(steps, height, width)
    x = latents.to(backbone.device)
    for index in range(len(schedule)):
        step = schedule.step(index, len(x))
        x = ode_step(backbone.velocity(x, step.sigma, condition), x, step).mean
    return backbone.decode(x, condition)


@pytest.fixture(name="sample")
def sample_fixture() -> Callable[..., Tensor]:
    return sample


@pytest.fixture
def judged() -> Callable[..., Tensor]:
    """Draw the same by diffusers' own call."""

    def draw(
        pipeline: Any,
        texts: Sequence[str],
        latents: Tensor,
        height: int,
        width: int,
        **options: Any,
    ) -> Tensor:
        defaults = {"num_inference_steps": 4, "max_sequence_length": 32, "output_type": "pt"}
        images: Tensor = pipeline(
            prompt=list(texts),
            latents=latents.clone(),
            height=height,
            width=width,
            **defaults | options,
        ).images
        return images

    return draw


@pytest.fixture
def noise() -> Callable[..., Tensor]:
    """Start latents of a backbone from a seed."""

    def draw(backbone: SD3, rows: int, height: int, width: int, seed: int = 1) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(rows, *backbone.latent_shape(height, width), generator=generator)

    return draw


@pytest.fixture
def perturb() -> Callable[[SD3], None]:
    """Move what is trained away from its start, as training would."""

    @torch.no_grad()
    def move(backbone: SD3) -> None:
        generator = torch.Generator().manual_seed(3)
        for parameter in backbone.trainable().values():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)

    return move
