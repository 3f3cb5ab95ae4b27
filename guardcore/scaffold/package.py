"""Writes a new plugin package."""

from __future__ import annotations

import json
from datetime import date
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from packaging.version import Version

from guardcore.errors import GuardcoreError
from guardcore.kinds import check_kind
from guardcore.plugins import installed
from guardcore.registry import BUILTIN
from guardcore.scaffold.naming import check_name, spelled
from guardcore.scaffold.usage import EXAMPLES, train_command

_TEMPLATES = files("guardcore.scaffold") / "templates"
_SHARED = {
    "pyproject.toml": "pyproject.toml.j2",
    "README.md": "README.md.j2",
    "LICENSE": "LICENSE.j2",
    ".gitignore": "gitignore",
    ".github/workflows/ci.yml": "ci.yml",
}
"""What every kind's package has, and the template that it is made from."""


def new(kind: str, name: str, directory: Path, *, author: str = "") -> Path:
    """Write a package with one component that works, and return where it is.

    The distribution is ``guardcore-NAME``, its one module ``guardcore_NAME``.

    Args:
        kind: Of the component: ``reward``, ``ratio-transform``, ….
        name: Of the component, kebab-case.
        directory: Of the package; new or empty.
        author: For licence and metadata; by default, its authors.

    Raises:
        GuardcoreError: An unknown kind, a name that could not be used, a directory with something
            in it or that cannot be written.
    """
    kind = check_kind(kind)
    check_name(kind, name, installed())
    written = package_files(kind, name, author or f"the authors of guardcore-{name}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise GuardcoreError(f"{directory} is not empty: name another directory with --out")
        for place, text in written.items():
            path = directory / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise GuardcoreError(f"cannot write {error.filename}: {error.strerror}") from error
    return directory


def package_files(kind: str, name: str, author: str) -> dict[str, str]:
    """Return a package's files, by their paths in it."""
    noun = EXAMPLES[kind].noun
    sources = {place: f"package/{template}" for place, template in _SHARED.items()}
    sources |= {
        module: f"{kind}/{module}" for module in ("guardcore_your_name.py", "test_your_name.py")
    }
    facts = _facts(kind, name, author)
    return {
        spelled(place, name, noun): _filled(spelled(_read(source), name, noun), source, facts)
        for place, source in sources.items()
    }


def _facts(kind: str, name: str, author: str) -> dict[str, str]:
    said = kind.replace("_", "-")
    running = Version(version(BUILTIN))
    return {
        "kind": said,
        "summary": f"A GuardCore {said}: {EXAMPLES[kind].does}",
        "author": author,
        "train": train_command(kind, name),
        "year": str(date.today().year),
        "guardcore_range": compatible(running),
    }


def compatible(running: Version) -> str:
    """Return the releases in which nothing public goes: until the next major, before 1.0 minor."""
    end = f"{running.major + 1}" if running.major else f"0.{running.minor + 1}"
    return f">={running.major}.{running.minor},<{end}"


def _read(source: str) -> str:
    return _TEMPLATES.joinpath(*source.split("/")).read_text(encoding="utf-8")


def _filled(text: str, source: str, facts: dict[str, str]) -> str:
    """Return a Jinja template filled in; anything else is its own text."""
    if not source.endswith(".j2"):
        return text
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters["toml"] = lambda text: json.dumps(text, ensure_ascii=False)
    return environment.from_string(text).render(facts)
