"""The tiny world's prompts and reward as a plugin. Importing this loads neither numpy nor torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from guardcore import Options, Prompt, Registrar, Reward, hookimpl

Tag = Literal[
    "single_object", "two_object", "counting", "colors", "position", "color_attr", "digits"
]
Group = Literal["scenes", "digits", "all"]


class TinyWorldOptions(Options):
    """Which captions of the tiny world, and how many."""

    split: Literal["train", "eval"] = Field(
        "train", description="train: captions the base model was trained on; eval: held-out ones"
    )
    task: Group | tuple[Tag, ...] = Field(
        "scenes",
        description="scenes: GenEval's six tasks, for the geneval reward; digits: numbers, for the "
        "ocr reward; all: both; or a list of tags (single_object, two_object, counting, colors, "
        "position, color_attr, digits); tags take turns",
    )
    size: int = Field(
        256, ge=1, le=1_000_000, description="number of prompts; a small tag's captions repeat"
    )
    seed: int = Field(0, ge=0, description="seed of the choice and order of captions")


def tiny_world_prompts(options: TinyWorldOptions) -> Sequence[Prompt]:
    """Captions of simple drawn scenes with GenEval's metadata, and of numbers to write."""
    from guardcore_plugins.tiny_world.prompts import choose

    return choose(options.split, options.task, options.size, options.seed)


class DrawnLikenessOptions(Options):
    """What drawn-likeness compares with."""

    task: Group = Field(
        "scenes", description="the drawings: scenes, digits (numbers), or all, both in turn"
    )
    half: float = Field(
        2.0,
        gt=0,
        description="distance to drawings at which the score is 0.5, in deviations; drawings "
        "themselves have about 0.6",
    )


def drawn_likeness(options: DrawnLikenessOptions) -> Reward:
    """Compare how the image looks with drawn scenes, whatever it shows; no network."""
    from guardcore_plugins.tiny_world.likeness import DrawnLikeness
    from guardcore_plugins.tiny_world.prompts import GROUPS

    return DrawnLikeness(GROUPS[options.task], options.half)


@hookimpl
def guardcore_register_prompt_sources(register: Registrar) -> None:
    """Register the tiny world's captions."""
    register("tiny-world", tiny_world_prompts)


@hookimpl
def guardcore_register_rewards(register: Registrar) -> None:
    """Register the likeness to drawn scenes."""
    register("drawn-likeness", drawn_likeness)
