"""How long a plugin's import takes, measured by Python itself in a fresh interpreter."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from guardcore.doctor.finding import Finding, Installation, about_plugin
from guardcore.registry import BUILTIN, Origin

SLOW = 0.5
"""Seconds beyond guardcore and its built-ins; every command pays them, whatever it runs."""

PATIENCE = 120
"""Seconds after which a distribution's imports are given up."""

# import_module would leave the module itself out of the report; __import__ does not
_PROGRAM = """
import json, sys
path, base, modules = json.loads(sys.argv[1])
sys.path[:] = path
for number, module in enumerate([*base, *modules], -len(base)):
    print(f"plugin {number}", file=sys.stderr, flush=True)
    try:
        __import__(module)
    except BaseException:
        pass
"""
_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|\s+(\S+)")
_MARK = re.compile(r"plugin (-?\d+)")


@dataclass(frozen=True)
class Import:
    """What a module's import took.

    Attributes:
        seconds: Everything together.
        heaviest: The most expensive top-level module of others that it imports; may be empty.
        share: That module's seconds, with all that it imports.
    """

    seconds: float
    heaviest: str
    share: float


def slow_import(installation: Installation) -> Iterator[Finding]:
    """Find plugins whose import costs every command half a second or more."""
    host = installation.host
    base = [_module(origin) for origin in host.plugins if origin.distribution == BUILTIN]
    owners: dict[str, list[Origin]] = {}
    for origin in installation.plugins:
        owners.setdefault(origin.distribution, []).append(origin)
    for name, origins in owners.items():
        modules = [_module(origin) for origin in origins]
        before = ["guardcore.plugins", *(() if name == BUILTIN else base)]
        for origin, taken in zip(origins, _measured(modules, before), strict=True):
            if taken.seconds > SLOW:
                yield _finding(origin, taken)


def _finding(origin: Origin, taken: Import) -> Finding:
    reason = f"its import takes {taken.seconds:.1f} s"
    remedy = "do inside the factory what the module does on import"
    if taken.share > taken.seconds / 2:
        reason += f", {taken.heaviest} alone {taken.share:.1f} s"
        remedy = f"import {taken.heaviest} inside the factory"
    return about_plugin("slow-import", "warning", origin, reason, remedy)


def _measured(modules: Sequence[str], before: Sequence[str]) -> list[Import]:
    """Return what each module's import takes, the better of two where one is slow."""
    first = import_times(modules, before)
    if all(taken.seconds <= SLOW for taken in first):
        return first
    again = import_times(modules, before)  # with the files in the system's cache
    return [min(pair, key=lambda i: i.seconds) for pair in zip(first, again, strict=True)]


def import_times(modules: Sequence[str], before: Sequence[str] = ()) -> list[Import]:
    """Import ``before`` and then ``modules`` in a fresh interpreter; return the latter's times."""
    work = json.dumps([sys.path, list(before), list(modules)])
    command = [sys.executable, "-X", "importtime", "-c", _PROGRAM, work]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=PATIENCE
        )
        report = done.stderr
    except subprocess.TimeoutExpired:
        return [Import(PATIENCE, "", 0.0) for _ in modules]
    sections = _sections(report)
    return [_import(module, sections.get(n, [])) for n, module in enumerate(modules)]


def _sections(report: str) -> Mapping[int, list[tuple[int, int, str]]]:
    """Return the lines of each plugin: microseconds alone and with imports, and the module."""
    sections: dict[int, list[tuple[int, int, str]]] = {}
    current: list[tuple[int, int, str]] = []
    for line in report.splitlines():
        if mark := _MARK.fullmatch(line):
            current = sections.setdefault(int(mark[1]), [])
        elif found := _LINE.search(line):
            current.append((int(found[1]), int(found[2]), found[3]))
    return sections


def _import(module: str, lines: Sequence[tuple[int, int, str]]) -> Import:
    own = {module.partition(".")[0], "guardcore"}
    foreign = [(total, name.partition(".")[0]) for _, total, name in lines]
    share, heaviest = max(((t, n) for t, n in foreign if n not in own), default=(0, ""))
    return Import(sum(alone for alone, _, _ in lines) / 1e6, heaviest, share / 1e6)


def _module(origin: Origin) -> str:
    return origin.module.partition(":")[0].strip()
