"""A typer app as data, from its functions' signatures: typer's own objects change too often."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import EnumType
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo

_TYPES = {str: "text", int: "integer", float: "number", Path: "path", bool: "flag"}
_REPEATABLE = ", repeatable"


@dataclass(frozen=True)
class Parameter:
    """An argument or an option of a command."""

    label: str
    kind: str
    default: str
    help: str | None
    positional: bool

    @property
    def place(self) -> str:
        """Where it stands in the usage, if it is an argument."""
        label = self.label if self.default == "*required*" else f"[{self.label}]"
        return f"{label.removesuffix('...')}..." if self.kind.endswith(_REPEATABLE) else label


@dataclass(frozen=True)
class Command:
    """A command, or a group of commands, which has no parameters."""

    path: str
    help: str | None
    parameters: tuple[Parameter, ...]
    group: bool

    @property
    def usage(self) -> str:
        """The line that says how to write it."""
        if self.group:
            return f"{self.path} COMMAND"
        labels = (p.place for p in self.parameters if p.positional)
        options = ["[OPTIONS]"] if any(not p.positional for p in self.parameters) else []
        return " ".join([self.path, *options, *labels])


def commands(app: typer.Typer, path: str) -> Iterator[Command]:
    """Yield a group, its commands, and those of the groups in it."""
    yield Command(path, app.info.help, (), group=True)
    for info in app.registered_commands:
        assert info.callback is not None
        name = info.name or info.callback.__name__.replace("_", "-")
        text = info.help or inspect.getdoc(info.callback)
        found = tuple(parameters(info.callback))
        yield Command(f"{path} {name}", text, found, group=False)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        inner = group.name or group.typer_instance.info.name
        yield from commands(group.typer_instance, f"{path} {inner}")


def parameters(function: Callable[..., Any]) -> Iterator[Parameter]:
    """Yield the parameters of a command's function, which are all ``Annotated``."""
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        annotation, *notes = (
            get_args(hints[name]) if hasattr(hints[name], "__metadata__") else [hints[name]]
        )
        info = notes[0] if notes else typer.Option()
        positional = isinstance(info, ArgumentInfo)
        given = (info.default, *(info.param_decls or ()))  # Option("--set") takes it for a default
        declared = [text for text in given if isinstance(text, str) and text.startswith("-")]
        label = " / ".join(declared) or f"--{name.replace('_', '-')}"
        if positional:
            label = (info.metavar or name).upper()
        yield Parameter(
            label, _kind(annotation), _default(parameter.default), info.help, positional
        )


def _kind(annotation: Any) -> str:
    if get_origin(annotation) in (Union, UnionType):
        return _kind(next(part for part in get_args(annotation) if part is not type(None)))
    if get_origin(annotation) is list:
        return f"{_kind(get_args(annotation)[0])}{_REPEATABLE}"
    if isinstance(annotation, EnumType):
        return " or ".join(f"`{member.value}`" for member in annotation)
    return _TYPES.get(annotation) or str(getattr(annotation, "__name__", annotation))


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return "*required*"
    return "–" if value is None or value is False or value == () else f"`{value}`"
