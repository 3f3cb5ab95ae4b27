"""Checks on the distributions that offer plugins: what they need, and whether they are whole."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion

from guardcore.doctor.finding import Finding, Installation, about_distribution, about_plugin

NO_EXTRA = ""


def dependencies(installation: Installation) -> Iterator[Finding]:
    """Find requirements that are not met.

    An extra of the plugin's own is optional and not looked at; an extra that it asks of another
    distribution (``guardcore[ocr]``) is.
    """
    for name, (counts, *_) in installation.distributions.items():
        for reason, remedy in [*_python(counts), *_unmet(counts, NO_EXTRA)]:
            yield about_distribution(
                "dependencies", "failure", name, counts.version, reason, remedy
            )


def _python(counts: Distribution) -> Iterator[tuple[str, str]]:
    wanted = str(counts.metadata.json.get("requires_python", ""))
    running = platform.python_version()
    try:
        sound = _within(SpecifierSet(wanted), running)
    except InvalidSpecifier:
        yield f"its Requires-Python {wanted!r} cannot be read", "tell its author"
        return
    if not sound:
        yield f"needs Python {wanted}, this is {running}", "install it under another Python"


def _unmet(counts: Distribution, extra: str) -> Iterator[tuple[str, str]]:
    """Yield a reason and a remedy for each requirement of a distribution, or of its ``extra``."""
    for text in counts.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            yield f"its requirement {text!r} cannot be read", "tell its author"
            continue
        if _applies(requirement, extra):
            yield from _unmet_one(requirement, within_extra=bool(extra))


def _unmet_one(requirement: Requirement, *, within_extra: bool) -> Iterator[tuple[str, str]]:
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    wanted = f"{requirement.name}{extras}{requirement.specifier}"
    remedy = f"pip install {shlex.quote(wanted)}"
    try:
        found = distribution(requirement.name)
    except PackageNotFoundError:
        yield f"needs {wanted}, which is not installed", remedy
        return
    if not _within(requirement.specifier, found.version):
        yield f"needs {wanted}, {found.version} is installed", remedy
    for name in requirement.extras if not within_extra else ():  # extras of extras: pip's to see
        for reason, _ in _unmet(found, name):
            yield f"needs {wanted}, which {reason}", remedy


def _applies(requirement: Requirement, extra: str) -> bool:
    """Whether a requirement is in force; with an extra, only those that the extra adds."""
    if requirement.marker is None:
        return not extra
    plain = requirement.marker.evaluate({"extra": NO_EXTRA})
    return not plain and requirement.marker.evaluate({"extra": extra}) if extra else plain


def _within(wanted: SpecifierSet, version: str) -> bool:
    try:
        return wanted.contains(version, prereleases=True)
    except InvalidVersion:
        return False


def duplicate(installation: Installation) -> Iterator[Finding]:
    """Find distributions that are on ``sys.path`` more than once."""
    for name, copies in installation.distributions.items():
        counts, *others = copies
        source = editable_source(counts)
        places = {(_place(copy), copy.version): None for copy in others}
        places.pop((_place(counts), counts.version), None)  # one folder twice on sys.path
        for place, version in places:
            # an editable install's own source may hold the metadata that its build left
            if source is None or not place.is_relative_to(source):
                reason = (
                    f"installed twice: {counts.version} in {_place(counts)} counts, "
                    f"{version} in {place} does not"
                )
                remedy = f"pip uninstall {name} until none is left, then install it once"
                yield about_distribution(
                    "duplicate", "warning", name, counts.version, reason, remedy
                )


def _place(copy: Distribution) -> Path:
    """Return the folder that a distribution's metadata lies in."""
    return Path(str(copy.locate_file(""))).resolve()


def stale(installation: Installation) -> Iterator[Finding]:
    """Find what was installed once and is gone: an editable source, or an entry point's module."""
    vanished = set()
    for name, (counts, *_) in installation.distributions.items():
        source = editable_source(counts)
        if source is not None and not source.is_dir():
            vanished.add(name)
            reason = f"installed in editable mode from {source}, which is gone"
            remedy = f"pip uninstall {name}, or install it from where it is now"
            yield about_distribution("stale", "failure", name, counts.version, reason, remedy)
    for problem in installation.host.problems:
        named = problem.origin.distribution
        if problem.check == "stale" and installation.includes(named) and named not in vanished:
            yield about_plugin("stale", "failure", problem.origin, problem.reason, problem.remedy)


def editable_source(counts: Distribution) -> Path | None:
    """Return the directory that an editable install leads to (PEP 610); None for any other."""
    try:
        record = json.loads(counts.read_text("direct_url.json") or "{}")
        editable = record["dir_info"]["editable"]
    except (ValueError, KeyError, TypeError):
        return None
    path = url2pathname(urlparse(str(record.get("url"))).path)
    return Path(path) if editable else None
