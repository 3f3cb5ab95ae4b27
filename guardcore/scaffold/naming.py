"""Names of a new plugin: which are refused, and how one is spelled in its files."""

from __future__ import annotations

import re

from guardcore.errors import GuardcoreError
from guardcore.registry import BUILTIN, Registry

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_OURS = frozenset({"cli", "plugins"})
"""``guardcore_cli`` and ``guardcore_plugins`` are GuardCore's own modules."""


def check_name(kind: str, name: str, registry: Registry) -> None:
    """Refuse a name under which the package could not be used.

    Raises:
        GuardcoreError: What is wrong with it, and what to choose.
    """
    if not _NAME.fullmatch(name):
        raise GuardcoreError(
            f"{name!r} is no name: kebab-case from a letter on, e.g. 'late-steps' "
            f"(the package is then 'guardcore-late-steps')"
        )
    bare = name.removeprefix(f"{BUILTIN}-")
    if bare != name:
        raise GuardcoreError(f"the package is called {name!r} by itself: say {bare!r}")
    if name in _OURS:
        raise GuardcoreError(f"guardcore_{name} is a module of GuardCore: choose another name")
    if _is_built_in(kind, name, registry):
        said = kind.replace("_", "-")
        raise GuardcoreError(f"the {said} name {name!r} is built in: choose another name")


def _is_built_in(kind: str, name: str, registry: Registry) -> bool:
    try:
        registry.find(kind, f"{BUILTIN}:{name}")
    except GuardcoreError:
        return False
    return True


def spelled(text: str, name: str, noun: str) -> str:
    """Return a template's text with ``name`` in place of ``your-name``, in each of its spellings.

    A component's class and factory end in the kind's noun, ``csv_tracker``: so that none is called
    as a keyword, or as a module that the file imports. A name that ends so already stays.
    """
    whole = name if name.endswith(f"-{noun}") else f"{name}-{noun}"
    spellings = {
        f"your_name_{noun}": _snake(whole),
        f"YourName{noun.capitalize()}": _pascal(whole),
        "your_name": _snake(name),
        "YourName": _pascal(name),
        "YOUR_NAME": _snake(name).upper(),
        "your-name": name,
    }
    for template, own in spellings.items():
        text = text.replace(template, own)
    return text


def _snake(name: str) -> str:
    return name.replace("-", "_")


def _pascal(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("-"))
