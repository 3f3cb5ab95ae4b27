"""Reads the site's pages as a reader does: the files and the commands in their fenced blocks."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SNIPPET = re.compile(r"^--8<--\n(.+)\n--8<--\n", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: a file where it has a title, commands where it is shell."""

    language: str
    title: str | None
    text: str


def blocks(page: Path) -> list[Block]:
    """Return a page's blocks, snippets included."""
    text = SNIPPET.sub(lambda found: (ROOT / found[1]).read_text(), page.read_text())
    return [Block(*found.groups()) for found in FENCE.finditer(text)]
