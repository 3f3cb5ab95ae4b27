"""The tiny world's prompts as a plugin. Importing this loads neither numpy nor torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from guardcore import Options, Prompt, Registrar, hookimpl

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


@hookimpl
def guardcore_register_prompt_sources(register: Registrar) -> None:
    """Register the tiny world's captions."""
    register("tiny-world", tiny_world_prompts)
