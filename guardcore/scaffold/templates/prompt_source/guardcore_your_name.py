"""Counting prompts as a prompt source: ``a photo of three red circles``, as GenEval would ask."""

from __future__ import annotations

from collections.abc import Sequence

from guardcore import Options, Prompt, Registrar, hookimpl
from pydantic import Field

COUNTS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
COLOURS = ("red", "green", "blue")
SHAPES = ("circle", "square", "triangle", "ring")


class YourNameOptions(Options):
    """How hard the prompts are."""

    most: int = Field(4, ge=2, le=10, description="largest number of objects in a prompt")


def your_name_source(options: YourNameOptions) -> Sequence[Prompt]:
    """Prompts for two to ``most`` objects: 3 colours, 4 shapes, so ``12·(most − 1)`` of them.

    The metadata are GenEval's, so the ``geneval`` reward can judge what was drawn.
    """
    return [
        _prompt(number, word, colour, shape)
        for number, word in enumerate(COUNTS[: options.most - 1], start=2)
        for colour in COLOURS
        for shape in SHAPES
    ]


def _prompt(number: int, word: str, colour: str, shape: str) -> Prompt:
    wanted = {"class": shape, "count": number, "color": colour}
    metadata = {"tag": "counting", "include": [wanted], "exclude": []}
    return Prompt(f"a photo of {word} {colour} {shape}s", metadata)


@hookimpl
def guardcore_register_prompt_sources(register: Registrar) -> None:
    """Register the one source."""
    register("your-name", your_name_source)
