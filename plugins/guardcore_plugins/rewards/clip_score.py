"""CLIPScore: how well a picture fits its caption, by a plain CLIP (arXiv 2104.08718)."""

from __future__ import annotations

from pydantic import Field

from guardcore_plugins.rewards.clip import ClipOptions, ClipReward


class ClipScoreOptions(ClipOptions):
    """Options of ``clip-score``."""

    model: str = Field(
        "openai/clip-vit-large-patch14",
        description="directory or hub name (owner/name) of a CLIPModel in safetensors; "
        "'tiny-preference' is the embedded one, for the tiny world's images",
    )
    factor: float = Field(
        100.0,
        gt=0,
        description="of the cosine; 100 as torchmetrics has it, 2.5 as in the paper",
    )


def clip_score(options: ClipScoreOptions) -> ClipReward:
    """Score how well the image fits the prompt: factor · max(cos(text, image), 0)."""
    from guardcore_plugins.rewards.clip_scorer import load

    return ClipReward(load(options), lambda cosines: options.factor * cosines.clamp(min=0))
