"""The options of the built-in backbones: what all have in common, then each architecture's own.

Imports neither torch nor diffusers.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from guardcore import Options
from guardcore_plugins.backbones.memory_options import MemoryOptions
from guardcore_plugins.backbones.source import check_lora, check_model

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

# What Flow-GRPO adapts: attention and feed-forward of both streams in the joint blocks. In the
# single blocks the same endings meet attn.to_q, to_k and to_v; their proj_mlp and proj_out stay
# as they are ('proj_out' would be the end of the whole transformer's last layer, too).
FLUX_TARGETS = (
    *SD3_TARGETS,
    "ff.net.0.proj",
    "ff.net.2",
    "ff_context.net.0.proj",
    "ff_context.net.2",
)


_TARGETS = "Linear layers to adapt, each as the end of its name in the transformer."
_T5_TOKENS = "Tokens of the T5 part of a prompt's embedding."
_LORA = "Adapters to train; null trains the whole transformer."


class LoraOptions(Options):
    """Low-rank adapters on the transformer's linear layers."""

    rank: int = Field(default=32, ge=1, description="Rank of each adapter's two factors.")
    alpha: float = Field(default=64, gt=0, description="Adapter output is scaled by alpha/rank.")
    targets: tuple[str, ...] = Field(min_length=1, description=_TARGETS)
    start: str | None = Field(
        default=None,
        description="LoRA to start from, of the same rank, alpha and layers: a .safetensors file "
        "or its directory, in diffusers' or peft's naming. The reference is the model with it.",
    )

    @field_validator("start")
    @classmethod
    def _start_is_there(cls, start: str | None) -> str | None:
        if start is not None:
            check_lora(start)
        return start


class ModelOptions(MemoryOptions):
    """A model in the format of one of diffusers' pipelines.

    Attributes:
        pipeline: The class name that the model's ``model_index.json`` must hold.
    """

    pipeline: ClassVar[str]

    model: str = Field(description="Directory or hub name (owner/name) of a diffusers pipeline.")
    guidance_scale: float = Field(ge=0, description="Strength of the prompt.")
    max_sequence_length: int = Field(ge=1, le=512, description=_T5_TOKENS)
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
    lora: LoraOptions | None = Field(description=_LORA)

    @field_validator("model")
    @classmethod
    def _model_is_usable(cls, model: str) -> str:
        check_model(model, cls.pipeline)
        return model


class SD3LoraOptions(LoraOptions):
    """Low-rank adapters; by default on both streams of the joint attention."""

    targets: tuple[str, ...] = Field(default=SD3_TARGETS, min_length=1, description=_TARGETS)


class SD3Options(ModelOptions):
    """A model in diffusers' StableDiffusion3Pipeline format."""

    pipeline: ClassVar[str] = "StableDiffusion3Pipeline"

    model: str = Field(
        description="Directory or hub name (owner/name) of a StableDiffusion3Pipeline; "
        "'tiny-sd3' is the embedded model.",
    )
    guidance_scale: float = Field(
        default=4.5,
        ge=0,
        description="Classifier-free guidance; up to 1 is one forward without it.",
    )
    max_sequence_length: int = Field(default=256, ge=1, le=512, description=_T5_TOKENS)
    lora: SD3LoraOptions | None = Field(default=SD3LoraOptions(), description=_LORA)


class FluxLoraOptions(LoraOptions):
    """Low-rank adapters; by default on attention and the joint blocks' feed-forward."""

    targets: tuple[str, ...] = Field(default=FLUX_TARGETS, min_length=1, description=_TARGETS)


class FluxOptions(ModelOptions):
    """A model in diffusers' FluxPipeline format."""

    pipeline: ClassVar[str] = "FluxPipeline"

    model: str = Field(
        description="Directory or hub name (owner/name) of a FluxPipeline; "
        "'tiny-flux' is the embedded model.",
    )
    guidance_scale: float = Field(
        default=3.5,
        ge=0,
        description="Embedded guidance, an input of the model: always one forward. "
        "A model without that input (schnell) ignores it.",
    )
    max_sequence_length: int = Field(default=512, ge=1, le=512, description=_T5_TOKENS)
    negative_prompt: str = Field(
        default="", description="Must stay empty: embedded guidance leads away from no prompt."
    )
    lora: FluxLoraOptions | None = Field(default=FluxLoraOptions(), description=_LORA)

    @field_validator("negative_prompt")
    @classmethod
    def _negative_prompt_is_empty(cls, prompt: str) -> str:
        if prompt:
            raise ValueError("embedded guidance knows no negative prompt; leave it empty")
        return prompt
