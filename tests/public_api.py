"""Writes ``tests/core/public_api.txt``: every public name with its signature, one a line.

``python tests/public_api.py`` accepts a change, which belongs into ``CHANGELOG.md`` as well; what
may change when is in ``docs/compatibility.md``. The command line, the config's keys and the
components' options are compared with ``docs/reference/``.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

RECORD = Path(__file__).parent / "core" / "public_api.txt"
OPERATORS = {"__call__", "__len__", "__getitem__", "__iter__"}
NOT_OURS = {"model_config"}


def lines() -> list[str]:
    """Return what is public now, sorted."""
    import guardcore
    import guardcore.testing
    from guardcore import hookspecs, permission
    from guardcore.kinds import KINDS

    found = [f"entry-point group {hookspecs.ENTRY_POINT_GROUP}"]
    found += [f"environment {name}" for name in (permission.ALLOW_LIST, permission.LEFT_OUT)]
    found += [f"kind {kind}" for kind in KINDS]
    found += [f"hook {line}" for line in hooks(hookspecs)]
    found += exported(guardcore)
    found += exported(guardcore.testing)
    return sorted(found)


def hooks(module: ModuleType) -> Iterator[str]:
    """Yield each hook with its arguments, and whether it is deprecated."""
    for name, value in vars(module).items():
        marks = getattr(value, "guardcore_spec", None)
        if marks is not None:
            announced = marks["warn_on_impl"] or marks["warn_on_impl_args"]
            yield f"{name}{signature(value)}{' (deprecated)' if announced else ''}"


def exported(module: ModuleType) -> Iterator[str]:
    """Yield the lines of every name that a module exports."""
    for name in getattr(module, "__all__", None) or _own(module):
        yield from described(f"{module.__name__}.{name}", getattr(module, name))


def _own(module: ModuleType) -> list[str]:
    """Return the names that a module without ``__all__`` re-exports from below it."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and str(getattr(value, "__module__", "")).startswith(f"{module.__name__}.")
    ]


def described(path: str, value: Any) -> Iterator[str]:
    """Yield a public thing, and below it what it consists of."""
    if inspect.isclass(value):
        yield f"{path}: {_sort(value)}"
        yield from fields(path, value)
        yield from members(path, value)
    elif inspect.isroutine(value):
        yield f"{path}{signature(value)}"
    else:
        yield f"{path}: {value if hasattr(value, '__args__') else type(value).__name__}"


def _sort(owner: type) -> str:
    if dataclasses.is_dataclass(owner):
        return "dataclass"
    bases = [base.__name__ for base in owner.__bases__ if base is not object]
    return f"class({', '.join(bases)})"


def fields(path: str, owner: type) -> Iterator[str]:
    """Yield the fields of a dataclass, with place and default, or those of a pydantic model."""
    after: dict[str, str] = {}
    if dataclasses.is_dataclass(owner):
        arguments = [field for field in dataclasses.fields(owner) if field.init]
        after = {f.name: f"{_default(f)}  # argument {n}" for n, f in enumerate(arguments, 1)}
    elif issubclass(owner, BaseModel):
        # a section's default is all of its keys', which the config's own page has
        after = {n: "" if f.is_required() else " = …" for n, f in owner.model_fields.items()}
    for name, annotation in inspect.get_annotations(owner).items():
        if not name.startswith("_") and name not in NOT_OURS:
            yield f"{path}.{name}: {annotation}{after.get(name, '')}"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f" = {field.default!r}"
    return "" if field.default_factory is dataclasses.MISSING else " = …"


def members(path: str, owner: type) -> Iterator[str]:
    """Yield the public methods and properties that are a class's own."""
    for name, member in vars(owner).items():
        if name.startswith("_") and name not in OPERATORS:
            continue
        getter = getattr(member, "fget", None) or getattr(member, "func", None)
        function = getter or getattr(member, "__func__", member)
        if inspect.isfunction(function):
            call = signature(function)
            yield f"{path}.{name}{call.replace('() ->', ':') if getter else call}"


def signature(function: Any) -> str:
    """Return a call as it is written in the source, without the quotes around annotations."""
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(function)))
    return re.sub(r"^\((self|cls)(, )?", "(", text).replace("(/, ", "(").replace("(/)", "()")


def differences(before: list[str], now: list[str]) -> list[str]:
    """Return the lines that are gone (which break plugins) and those that are new."""
    return [
        *(f"gone: {line}" for line in before if line not in now),
        *(f"new:  {line}" for line in now if line not in before),
    ]


if __name__ == "__main__":
    RECORD.write_text("".join(f"{line}\n" for line in lines()), encoding="utf-8")
