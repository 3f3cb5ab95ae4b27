"""Each built-in architecture's own options; ``ModelOptions`` is what all have in common.

Imports neither torch nor diffusers.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator

from guardcore import Outline
from guardcore_plugins.backbones.memory_options import ModelOptions as ModelOptions
from guardcore_plugins.backbones.model_options import LORA, T5_TOKENS, TARGETS, LoraOptions

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


class SD3LoraOptions(LoraOptions):
    """Low-rank adapters; by default on both streams of the joint attention."""

    targets: tuple[str, ...] = Field(default=SD3_TARGETS, min_length=1, description=TARGETS)


class SD3Options(ModelOptions):
    """A model in diffusers' StableDiffusion3Pipeline format."""

    pipeline: ClassVar[str] = "StableDiffusion3Pipeline"

    model: str = Field(
        description="Directory or hub name (owner/name) of a StableDiffusion3Pipeline; "
        "'tiny-sd3' is the embedded model.",
        examples=["tiny-sd3"],
    )
    guidance_scale: float = Field(
        default=4.5,
        ge=0,
        description="Classifier-free guidance; up to 1 is one forward without it.",
    )
    max_sequence_length: int = Field(default=256, ge=1, le=512, description=T5_TOKENS)
    lora: SD3LoraOptions | None = Field(default=SD3LoraOptions(), description=LORA)

    def outline(self) -> Outline:
        """Return the backbone without weights."""
        from guardcore_plugins.backbones.outline import outline_sd3

        return outline_sd3(self)


class FluxLoraOptions(LoraOptions):
    """Low-rank adapters; by default on attention and the joint blocks' feed-forward."""

    targets: tuple[str, ...] = Field(default=FLUX_TARGETS, min_length=1, description=TARGETS)


class FluxOptions(ModelOptions):
    """A model in diffusers' FluxPipeline format."""

    pipeline: ClassVar[str] = "FluxPipeline"

    model: str = Field(
        description="Directory or hub name (owner/name) of a FluxPipeline; "
        "'tiny-flux' is the embedded model.",
        examples=["tiny-flux"],
    )
    guidance_scale: float = Field(
        default=3.5,
        ge=0,
        description="Embedded guidance, an input of the model: always one forward. "
        "A model without that input (schnell) ignores it.",
    )
    max_sequence_length: int = Field(default=512, ge=1, le=512, description=T5_TOKENS)
    negative_prompt: str = Field(
        default="", description="Must stay empty: embedded guidance leads away from no prompt."
    )
    lora: FluxLoraOptions | None = Field(default=FluxLoraOptions(), description=LORA)

    def outline(self) -> Outline:
        """Return the backbone without weights."""
        from guardcore_plugins.backbones.outline import outline_flux

        return outline_flux(self)

    @field_validator("negative_prompt")
    @classmethod
    def _negative_prompt_is_empty(cls, prompt: str) -> str:
        if prompt:
            raise ValueError("embedded guidance knows no negative prompt; leave it empty")
        return prompt
