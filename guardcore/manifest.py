"""``manifest.json``: which components of which versions and files made a run."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardcore.launched import announced

if TYPE_CHECKING:
    from guardcore.bound import Binding

_PACKAGES = ("guardcore", "torch", "diffusers", "transformers", "peft", "safetensors")


@dataclass(frozen=True)
class Change:
    """A distribution that is not what it was when a run was last begun.

    Attributes:
        distribution: Whose components the run uses.
        was: Its version then.
        now: Its version now; the same where only its files differ.
    """

    distribution: str
    was: str
    now: str


def manifest(config: Mapping[str, Any], binding: Binding) -> dict[str, Any]:
    """Return what describes a run beside its config."""
    return {
        "components": component_records(binding),
        "seed": config["seed"],
        "processes": announced(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "git_commit": _git_commit(),
    }


def component_records(binding: Binding) -> list[dict[str, Any]]:
    """Return a row for every component that a run uses: what it is, and from which files."""
    hashed = cache(source_hash)  # the components of one package are many
    return [
        {
            "path": path,
            "name": entry.qualified,
            "distribution": entry.origin.distribution,
            "version": entry.origin.version,
            "module": entry.origin.module,
            "sha256": hashed(entry.origin.module),
        }
        for path, entry in binding.entries().items()
    ]


def source_hash(module: str) -> str | None:
    """Return the SHA-256 of the Python files of a plugin's package; None where there are none.

    Of all of its top-level package, so that a change in a helper counts too; of a namespace
    package, which many may share, the part below it.

    Args:
        module: An imported one, as an entry point names it: ``package.module:attribute``.
    """
    files = {path.as_posix(): whole for path, whole in _source_files(module.partition(":")[0])}
    digest = hashlib.sha256()
    try:
        for name, path in sorted(files.items()):
            content = path.read_bytes()
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
    except OSError:  # an uninstalled package, still in memory
        return None
    return digest.hexdigest() if files else None


def _source_files(module: str) -> Iterator[tuple[Path, Path]]:
    """Yield the files of a module's package or its own, relative and whole."""
    parts = module.strip().split(".")
    prefixes = (".".join(parts[:number]) for number in range(1, len(parts) + 1))
    imported = [sys.modules[name] for name in prefixes if name in sys.modules]
    top = next((found for found in imported if getattr(found, "__file__", None)), None)
    if top is None or top.__file__ is None:
        return
    file = Path(top.__file__)
    if not hasattr(top, "__path__"):
        yield Path(file.name), file
        return
    for path in file.parent.rglob("*.py"):
        yield path.relative_to(file.parent), path


def changes(stored: Mapping[str, Any], now: Sequence[Mapping[str, Any]]) -> list[Change]:
    """Return the distributions whose components have another version or hash than ``stored``.

    Args:
        stored: A manifest; what an older one doesn't hold is not compared.
        now: The rows of the components that the run uses now.
    """
    before = {(row["path"], row["name"]): row for row in stored.get("components", ())}
    found: dict[str, Change] = {}
    for row in now:
        old = before.get((row["path"], row["name"]))
        if old and _differ(old, row):
            name = row["distribution"]
            found.setdefault(name, Change(name, old["version"], row["version"]))
    return list(found.values())


def _differ(old: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    pairs = [(old.get(key), now[key]) for key in ("version", "sha256")]
    return any(before != after for before, after in pairs if None not in (before, after))


def change_warnings(found: Iterable[Change]) -> list[str]:
    """Return a line a distribution."""
    return [
        f"{change.distribution} has changed since this run was begun: {_what_changed(change)}; "
        "it goes on with what is installed now"
        for change in found
    ]


def resumptions(found: Sequence[Change], iteration: int) -> list[dict[str, Any]]:
    """Return what a manifest remembers of going on after ``iteration`` with what has changed."""
    rows = [asdict(change) for change in found]
    return [{"after_iteration": iteration, "changed": rows}] if rows else []


def _what_changed(change: Change) -> str:
    if change.was != change.now:
        return f"version {change.was}, now {change.now}"
    return f"the files of version {change.now} are others"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Return the commit of the working directory, where it is in a git checkout."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
