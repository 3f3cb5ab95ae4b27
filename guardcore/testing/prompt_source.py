"""The laws of a source of prompts.

Indices below 0 are none of them: the core counts from 0 up.
"""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis.strategies import integers

from guardcore.components import PromptSource
from guardcore.prompt import Prompt
from guardcore.testing.law import BrokenError, hold, label, once
from guardcore.testing.methods import has_methods


def check_prompt_source(source: PromptSource, *, name: str | None = None) -> None:
    """Check a source of prompts against its contract.

    Args:
        source: As its factory builds it.
        name: What errors call it.

    Raises:
        ContractError: It breaks a law, which the error names.
    """
    who = label("prompt source", source, name)
    once("methods", who, lambda: has_methods(source, ["__len__", "__getitem__"]))
    once("not-empty", who, lambda: _not_empty(source))
    places = integers(0, len(source) - 1)
    hold("prompts", who, places, lambda place: _prompt(source[place]))
    hold("stable", who, places, lambda place: _stable(source, place))
    once("end", who, lambda: _end(source))


def _not_empty(source: PromptSource) -> None:
    if len(source) < 1:
        raise BrokenError("it holds no prompt")


def _prompt(item: object) -> None:
    if not isinstance(item, Prompt):
        raise BrokenError(f"expected a guardcore.Prompt, received a {type(item).__name__}")
    if not isinstance(item.text, str):
        raise BrokenError(f"expected a text, received a {type(item.text).__name__}")
    if not isinstance(item.metadata, Mapping):
        raise BrokenError(f"expected a mapping as metadata, received {item.metadata!r}")
    odd = [key for key in item.metadata if not isinstance(key, str)]
    if odd:
        raise BrokenError(f"expected words as the metadata's keys, received {odd[0]!r}")


def _stable(source: PromptSource, place: int) -> None:
    first, other = source[place], source[len(source) - 1 - place]
    again = source[place]
    if first != again:
        raise BrokenError(
            f"prompt {place} was {first.text!r}, and after prompt {len(source) - 1 - place} "
            f"({other.text!r}) it is {again.text!r}, or its metadata has changed"
        )


def _end(source: PromptSource) -> None:
    """What ``for prompt in source`` stops at."""
    try:
        beyond = source[len(source)]
    except IndexError:
        return
    raise BrokenError(f"expected an IndexError at place {len(source)}, received {beyond!r}")
