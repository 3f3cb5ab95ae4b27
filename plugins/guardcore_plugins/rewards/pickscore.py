"""PickScore: a CLIP trained on which of two pictures people prefer (arXiv 2305.01569)."""

from __future__ import annotations

from pydantic import Field

from guardcore_plugins.rewards.clip import ClipOptions, ClipReward

PROCESSOR = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
"""Tokenizer and preprocessing of the published model, whose repository need not hold them."""


class PickScoreOptions(ClipOptions):
    """Options of ``pickscore``."""

    model: str = Field(
        "yuvalkirstain/PickScore_v1",
        description="directory or hub name (owner/name) of a CLIPModel in safetensors; "
        "'tiny-preference' is the embedded one, for the tiny world's images",
    )
    processor: str | None = Field(
        None,
        description="directory or hub name of tokenizer and preprocessing; null: the model's own "
        f"where it has them, else {PROCESSOR}, as published",
    )
    divide_by: float = Field(
        1.0,
        gt=0,
        description="the score is divided by this; 1: as published (about 20 to 24); "
        "26: as Flow-GRPO trains with, about 1 beside other rewards",
    )


def pickscore(options: PickScoreOptions) -> ClipReward:
    """Score the image as people would prefer it: exp(logit_scale) · cos(text, image)."""
    from guardcore_plugins.rewards.clip_scorer import load

    scorer = load(options, PROCESSOR)
    factor = scorer.logit_scale / options.divide_by
    return ClipReward(scorer, lambda cosines: factor * cosines)
