"""Writes the pages under ``docs/reference/`` from the code they describe.

``python docs/generate.py`` writes them; ``--check`` only says which differ. Whatever lacks a
description (a hook, component, option, config key, command or public name) is named, and no page
is written.
"""

from __future__ import annotations

import sys
from pathlib import Path

from reference_pages import Pages

from guardcore.plugins import PluginHost

REFERENCE = Path(__file__).parent / "reference"
NOTICE = "<!-- Written by docs/generate.py from the code; do not edit. -->\n<!-- fmt: off -->\n\n"


class UndocumentedError(Exception):
    """Something that a reader would look up has no description."""


def pages() -> dict[str, str]:
    """Return every page by its file's name.

    Raises:
        UndocumentedError: Naming all that has no description.
    """
    from guardcore_cli.main import app

    writer = Pages()
    written = {
        "hooks.md": writer.hooks(),
        "components.md": writer.components(PluginHost.discover().registry),
        "config.md": writer.config(),
        "cli.md": writer.cli(app),
        "names.md": writer.names(),
    }
    if writer.missing:
        raise UndocumentedError("no description: " + "; ".join(writer.missing))
    return {name: NOTICE + text.rstrip() + "\n" for name, text in written.items()}


def differences(folder: Path = REFERENCE) -> list[str]:
    """Return what the committed pages lack or hold too much, a line each."""
    found = []
    for name, text in pages().items():
        path = folder / name
        stored = path.read_text(encoding="utf-8") if path.is_file() else ""
        if stored != text:
            lines, stale = set(stored.split("\n")), set(text.split("\n"))
            found += [f"{name} lacks: {line}" for line in text.split("\n") if line not in lines]
            found += [
                f"{name} is stale: {line}" for line in stored.split("\n") if line not in stale
            ]
            found.append(f"{name} differs from the code; run: python docs/generate.py")
    return found


def main(check: bool) -> int:
    """Write or check the pages; return the exit code."""
    try:
        if check:
            found = differences()
            sys.stdout.write("".join(f"{line}\n" for line in found))
            return 1 if found else 0
        REFERENCE.mkdir(exist_ok=True)
        for name, text in pages().items():
            (REFERENCE / name).write_text(text, encoding="utf-8")
    except UndocumentedError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main("--check" in sys.argv[1:]))
