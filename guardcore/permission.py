"""Whose plugins may be imported: an allow-list in the environment, and ``--without``.

Both are environment variables, so that every process that a command starts keeps to them too.
The built-ins may always be imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from guardcore.errors import GuardcoreError, did_you_mean
from guardcore.offers import installed_offers, normalised
from guardcore.registry import BUILTIN

ALLOW_LIST = "GUARDCORE_PLUGINS"
"""Comma-separated distributions; set, also to nothing, only theirs are imported."""

LEFT_OUT = "GUARDCORE_WITHOUT"
"""Comma-separated distributions that are not imported; ``--without`` adds to it."""


class Refusal(NamedTuple):
    """What keeps a distribution out, and how to let it in."""

    by: str
    remedy: str


@dataclass(frozen=True)
class Permission:
    """Which distributions' plugins may be imported.

    Attributes:
        allowed: Normalised names; None: everybody.
        left_out: Normalised names of those that may not, allowed or not.
    """

    allowed: frozenset[str] | None = None
    left_out: frozenset[str] = frozenset()

    @classmethod
    def from_environment(cls) -> Permission:
        """Return what the environment says now."""
        allowed = os.environ.get(ALLOW_LIST)
        return cls(
            None if allowed is None else _names(allowed), _names(os.environ.get(LEFT_OUT, ""))
        )

    def refusal(self, distribution: str) -> Refusal | None:
        """Return why a distribution's plugins may not be imported; None: they may."""
        if distribution == BUILTIN:
            return None
        if distribution in self.left_out:
            remedy = f"drop --without {distribution}, or take it out of {LEFT_OUT}"
            return Refusal("--without", remedy)
        if self.allowed is not None and distribution not in self.allowed:
            return Refusal(ALLOW_LIST, f"add {distribution} to {ALLOW_LIST}, or unset it")
        return None


def leave_out(names: Iterable[str]) -> None:
    """Import nothing of these distributions, in this process and those that it starts.

    Raises:
        GuardcoreError: One offers no plugins, so its name is a mistake; or it is the built-ins'.
    """
    chosen = [normalised(name) for name in names]
    known = {*installed_offers().by_distribution} - {BUILTIN}
    for name in chosen:
        if name == BUILTIN:
            raise GuardcoreError(f"--without {name}: the built-ins cannot be left out")
        if name not in known:
            hint = did_you_mean(name, known) or "; see 'guardcore plugins list --no-import'"
            raise GuardcoreError(f"--without {name}: no such distribution has plugins{hint}")
    before = _names(os.environ.get(LEFT_OUT, ""))
    os.environ[LEFT_OUT] = ",".join(sorted({*before, *chosen}))


def _names(text: str) -> frozenset[str]:
    return frozenset(normalised(name.strip()) for name in text.split(",") if name.strip())
