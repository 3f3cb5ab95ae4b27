"""Rewards from a CLIP model: how well does the picture fit the words? Options and the reward.

Left out: other architectures than ``CLIPModel`` (SigLIP, BLIP), whose heads score differently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from guardcore import Options, Prompt
from guardcore_plugins.devices import DEVICES
from guardcore_plugins.rewards.clip_source import check_model, check_processor
from guardcore_plugins.rewards.inputs import check_images

if TYPE_CHECKING:
    from torch import Tensor

    from guardcore_plugins.rewards.clip_scorer import ClipScorer


MODEL = (
    "directory or hub name (owner/name) of a CLIPModel in safetensors; "
    "'tiny-preference' is the embedded one, for the tiny world's images"
)
"""Describes the option of that name, whatever its default."""


class ClipOptions(Options):
    """Options of every reward that a CLIP gives."""

    model: str = Field(description=MODEL)
    processor: str | None = Field(
        None,
        description="directory or hub name of tokenizer and preprocessing; null: the model's own",
    )
    device: str = Field(
        "auto",
        pattern=DEVICES,
        description="'cpu', 'cuda', 'cuda:N' or 'mps'; 'auto' is cuda where there is one",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="precision of the model; the score itself is computed in float64"
    )
    batch_size: int = Field(32, ge=1, description="images a forward pass")

    @field_validator("model")
    @classmethod
    def _model_is_usable(cls, model: str) -> str:
        check_model(model)
        return model

    @field_validator("processor")
    @classmethod
    def _processor_is_usable(cls, processor: str | None) -> str | None:
        if processor is not None:
            check_processor(processor)
        return processor


class ClipReward:
    """The reward: a formula on the cosine of image and prompt.

    Args:
        scorer: Gives the cosines.
        formula: From cosines ``[B]`` to scores ``[B]``.
    """

    def __init__(self, scorer: ClipScorer, formula: Callable[[Tensor], Tensor]) -> None:
        self._scorer = scorer
        self._formula = formula

    def __call__(self, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """Return one score an image, float32 on the CPU ``[B]``."""
        check_images(images, prompts)
        cosines = self._scorer(images, [prompt.text for prompt in prompts])
        return self._formula(cosines).float()

    def close(self) -> None:
        """Let go of the model."""
        self._scorer.close()
