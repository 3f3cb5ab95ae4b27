"""Everything there is to say about one component, without building it."""

from __future__ import annotations

import functools
import inspect
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

from guardcore.option_fields import OptionField, option_fields
from guardcore.registry import Registered, Registry
from guardcore.snippets import command_line, config_block, spelled_out
from guardcore.spec import Strategy

_HOME_LABELS = ("homepage", "repository", "source", "sourcecode", "documentation")
"""Labels of ``Project-URL`` that lead to a project, the best first (PEP 753)."""


@dataclass(frozen=True)
class Inspection:
    """What a component is, where it comes from, and how it is written.

    Attributes:
        summary: The distribution's, or empty.
        homepage: The distribution's, or empty.
        file: Where the factory is defined (a strategy: its plugin); None where nobody knows.
        line: The factory's first line in it.
        config: YAML to paste into a config; a required option stands as ``<name>``.
        spelled_out: For a strategy, YAML of its words; else empty.
        command_line: The same as arguments of ``guardcore train``.
    """

    kind: str
    name: str
    qualified: str
    distribution: str
    version: str
    plugin: str
    module: str
    summary: str
    homepage: str
    file: str | None
    line: int | None
    docstring: str
    options: tuple[OptionField, ...]
    config: str
    spelled_out: str
    command_line: str


def inspected(entry: Registered, registry: Registry) -> Inspection:
    """Return what there is to say about a component."""
    strategy = entry.factory if isinstance(entry.factory, Strategy) else None
    summary, homepage = about_distribution(entry.origin.distribution)
    file, line = source(entry)
    return Inspection(
        kind=entry.kind,
        name=entry.name,
        qualified=entry.qualified,
        distribution=entry.origin.distribution,
        version=entry.origin.version,
        plugin=entry.origin.entry_point,
        module=entry.origin.module,
        summary=summary,
        homepage=homepage,
        file=file,
        line=line,
        docstring=strategy.description if strategy else inspect.getdoc(entry.factory) or "",
        options=tuple(option_fields(entry.options)),
        config=config_block(entry, registry),
        spelled_out=spelled_out(strategy, registry) if strategy else "",
        command_line=command_line(entry, registry),
    )


def source(entry: Registered) -> tuple[str | None, int | None]:
    """Return the file and the first line of a factory; of a strategy, its plugin's file."""
    if isinstance(entry.factory, Strategy):
        module = sys.modules.get(entry.origin.module.partition(":")[0])
        return getattr(module, "__file__", None), None
    factory: Any = inspect.unwrap(entry.factory)
    while isinstance(factory, functools.partial):
        factory = factory.func
    if not (inspect.isroutine(factory) or inspect.isclass(factory)):
        factory = type(factory)
    try:
        return inspect.getsourcefile(factory), inspect.getsourcelines(factory)[1]
    except (OSError, TypeError):  # compiled, or made at run time
        return None, None


def about_distribution(name: str) -> tuple[str, str]:
    """Return a distribution's summary and homepage, each empty where it gives none."""
    try:
        given = metadata(name).json
    except PackageNotFoundError:
        return "", ""
    links = {"homepage": str(given.get("home_page", ""))}
    for link in given.get("project_url", ()):
        label, _, address = link.partition(",")
        links[_label(label)] = address.strip()
    homepage = next((links[label] for label in _HOME_LABELS if links.get(label)), "")
    return str(given.get("summary", "")), homepage


def _label(text: str) -> str:
    """Return a label as PEP 753 compares them: lower case, letters and digits alone."""
    return "".join(filter(str.isalnum, text)).lower()
