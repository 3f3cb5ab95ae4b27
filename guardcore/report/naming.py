"""What figures are called, in files and in titles."""

from __future__ import annotations

import re
from collections.abc import Sequence

from guardcore.report.groups import Group


def of(groups: Sequence[Group], group: Group) -> str:
    """Return the end of a title: whose figure it is, where there are several."""
    return f": {group.label}" if len(groups) > 1 else ""


def suffix(groups: Sequence[Group], group: Group) -> str:
    """Return the end of a file's name: whose figure it is, where there are several."""
    return f"-{groups.index(group) + 1}-{slug(group.label)}" if len(groups) > 1 else ""


def slug(label: str) -> str:
    """Return a label as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:60] or "x"
