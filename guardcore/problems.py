"""pydantic's errors as lines for a user: the config path, what was wrong, did-you-mean."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from guardcore.errors import did_you_mean

_LONGEST = 200
"""Characters of a value that an error shows."""


def problem_lines(
    error: ValidationError, model: type[BaseModel], path: str = "", *, partial: bool = False
) -> list[str]:
    """Return one line a problem, each beginning with its config path.

    Args:
        error: What pydantic found.
        model: What it validated for.
        path: Where that stands in the config.
        partial: What is missing is no problem.
    """
    return [
        _line(problem, model, path)
        for problem in error.errors()
        if not (partial and problem["type"] == "missing")
    ]


def _line(problem: Mapping[str, Any], model: type[BaseModel], path: str) -> str:
    keys = _keys(problem)
    where = ".".join(filter(None, [path, *keys])) or "config"
    if problem["type"] == "extra_forbidden":
        known = sorted(_keys_at(model, keys[:-1]))
        hint = did_you_mean(keys[-1], known) or (f"; known: {', '.join(known)}" if known else "")
        return f"{where}: unknown key{hint}"
    if problem["type"] == "missing":
        return f"{where}: required, and not given"
    message = problem["msg"].removeprefix("Value error, ")
    received = problem.get("input")
    shown = "" if isinstance(received, Mapping | BaseModel) else f", received {_brief(received)}"
    return f"{where}: {message[0].lower() + message[1:]}{shown}"


def _keys(problem: Mapping[str, Any]) -> list[str]:
    """Return the keys that lead to a problem."""
    *above, last = map(str, problem["loc"]) if problem["loc"] else ("",)
    # A tag of a union, written <like this> in the config's types, is no part of the path.
    keys = [key for key in above if not key.startswith("<")]
    if problem["type"] == "invalid_key":  # YAML's `on` is True; pydantic says which place it has
        return [*keys, str(problem["input"])]
    is_tag = last.startswith("<") and problem["type"] != "extra_forbidden"
    return keys if is_tag else [*keys, last]


def _brief(value: Any) -> str:
    """Return a value as Python writes it, or the ends of that."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an int of more than 4300 digits; a list in itself
        return f"{type(value).__name__} too long to print"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 4 :]}"


def _keys_at(model: type[BaseModel], keys: Sequence[str]) -> set[str]:
    """Return the field names of the model that ``keys`` lead to."""
    for key in keys:
        field = model.model_fields.get(key)
        nested = next(_models(field.annotation), None) if field else None
        model = nested or model
    return {field.alias or name for name, field in model.model_fields.items()}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, types.UnionType, tuple, list):
        for part in get_args(annotation):
            yield from _models(part)
