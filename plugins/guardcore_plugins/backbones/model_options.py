"""Which model, in which precision, on which device, and what of it is trained.

Imports neither torch nor diffusers.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from guardcore import Options
from guardcore_plugins.backbones.source import check_lora, check_model
from guardcore_plugins.devices import DEVICES

TARGETS = "Linear layers to adapt, each as the end of its name in the transformer."
T5_TOKENS = "Tokens of the T5 part of a prompt's embedding."
LORA = "Adapters to train; null trains the whole transformer."


class LoraOptions(Options):
    """Low-rank adapters on the transformer's linear layers."""

    rank: int = Field(default=32, ge=1, description="Rank of each adapter's two factors.")
    alpha: float = Field(default=64, gt=0, description="Adapter output is scaled by alpha/rank.")
    targets: tuple[str, ...] = Field(min_length=1, description=TARGETS)
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


class BareModelOptions(Options):
    """A model in the format of one of diffusers' pipelines.

    Attributes:
        pipeline: The class name that the model's ``model_index.json`` must hold.
    """

    pipeline: ClassVar[str]

    model: str = Field(description="Directory or hub name (owner/name) of a diffusers pipeline.")
    guidance_scale: float = Field(ge=0, description="Strength of the prompt.")
    max_sequence_length: int = Field(ge=1, le=512, description=T5_TOKENS)
    negative_prompt: str = Field(default="", description="What guidance leads away from.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        description="Precision of the frozen weights; what is trained is float32.",
    )
    device: str = Field(
        default="auto",
        pattern=DEVICES,
        description="'cpu', 'cuda', 'cuda:N' or 'mps'; 'auto' is cuda where there is one.",
    )
    lora: LoraOptions | None = Field(description=LORA)

    @field_validator("model")
    @classmethod
    def _model_is_usable(cls, model: str) -> str:
        check_model(model, cls.pipeline)
        return model
