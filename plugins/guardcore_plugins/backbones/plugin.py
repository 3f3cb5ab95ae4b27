"""Registers the built-in backbones. Imports neither torch nor diffusers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from guardcore import Backbone, Options, Registrar, hookimpl
from guardcore_plugins.backbones.source import check_model

SD3_PIPELINE = "StableDiffusion3Pipeline"

# Both streams of the joint attention, as Flow-GRPO adapts them. Matched as suffixes, so that the
# image-only attn2 of SD3.5's dual blocks stays as it is.
SD3_TARGETS = (
    "attn.add_k_proj",
    "attn.add_q_proj",
    "attn.add_v_proj",
    "attn.to_add_out",
    "attn.to_k",
    "attn.to_out.0",
    "attn.to_q",
    "attn.to_v",
)


class SD3LoraOptions(Options):
    """Low-rank adapters on the transformer's attention."""

    rank: int = Field(default=32, ge=1, description="Rank of each adapter's two factors.")
    alpha: float = Field(default=64, gt=0, description="Adapter output is scaled by alpha/rank.")
    targets: tuple[str, ...] = Field(
        default=SD3_TARGETS,
        min_length=1,
        description="Linear layers to adapt, each as the end of its name in the transformer.",
    )


class SD3Options(Options):
    """A model in diffusers' StableDiffusion3Pipeline format."""

    model: str = Field(
        description="Directory or hub name (owner/name) of a StableDiffusion3Pipeline; "
        "'tiny-sd3' is the embedded model.",
    )
    guidance_scale: float = Field(
        default=4.5,
        ge=0,
        description="Classifier-free guidance; up to 1 is one forward without it.",
    )
    max_sequence_length: int = Field(
        default=256, ge=1, le=512, description="Tokens of the T5 part of a prompt's embedding."
    )
    negative_prompt: str = Field(default="", description="What guidance leads away from.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        description="Precision of the frozen weights; what is trained is float32.",
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="'cpu', 'cuda', 'cuda:N' or 'mps'; 'auto' is cuda where there is one.",
    )
    lora: SD3LoraOptions | None = Field(
        default=SD3LoraOptions(),
        description="Adapters to train; null trains the whole transformer.",
    )

    @field_validator("model")
    @classmethod
    def _model_is_usable(cls, model: str) -> str:
        check_model(model, SD3_PIPELINE)
        return model


def sd3(options: SD3Options) -> Backbone:
    """Stable Diffusion 3 and 3.5, or any model of their architecture, LoRA or full fine-tuning."""
    from guardcore_plugins.backbones.quiet import quiet

    with quiet():  # transformers' image processors, unused here, ask for torchvision on import
        from diffusers import StableDiffusion3Pipeline

        from guardcore_plugins.backbones.loading import load
        from guardcore_plugins.backbones.sd3 import SD3

    pipeline, tuning = load(StableDiffusion3Pipeline, options)
    return SD3(pipeline, tuning, options)


@hookimpl
def guardcore_register_backbones(register: Registrar) -> None:
    """Register ``sd3``."""
    register("sd3", sd3)
