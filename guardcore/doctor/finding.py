"""What a check looks at, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution
from typing import Literal

from guardcore.plugins import PluginHost
from guardcore.registry import Origin, Registered

Severity = Literal["failure", "warning"]


def silent(component: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        check: Key of the check in ``CHECKS``, or ``not-checked``: a component that cannot be built.
        severity: ``failure``: something of the plugin cannot be used; ``warning``: it can.
        distribution: Whose it is.
        version: The distribution's.
        plugin: The entry point's name; empty where the whole distribution is meant.
        reason: What is wrong, on one line.
        remedy: What to do about it.
    """

    check: str
    severity: Severity
    distribution: str
    version: str
    plugin: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class Installation:
    """The plugins under examination.

    Attributes:
        host: All that is installed.
        names: The normalised names of the distributions to look at; None: every one.
        telling: Told each component that takes a while.
    """

    host: PluginHost
    names: frozenset[str] | None = None
    telling: Callable[[str], None] = silent

    def includes(self, distribution: str) -> bool:
        """Whether a distribution is to be looked at."""
        return self.names is None or distribution in self.names

    @property
    def plugins(self) -> list[Origin]:
        """The plugins that were loaded."""
        return [origin for origin in self.host.plugins if self.includes(origin.distribution)]

    @property
    def entries(self) -> list[Registered]:
        """What they registered."""
        return [e for e in self.host.registry if self.includes(e.origin.distribution)]

    @property
    def distributions(self) -> dict[str, list[Distribution]]:
        """Those that offer plugins, by name, each with its other copies on ``sys.path``."""
        return {
            name: copies for name, copies in self.host.distributions.items() if self.includes(name)
        }


Check = Callable[[Installation], Iterator[Finding]]


def about_plugin(
    check: str, severity: Severity, origin: Origin, reason: str, remedy: str
) -> Finding:
    """Return a finding about one plugin."""
    name, version = origin.distribution, origin.version
    return Finding(check, severity, name, version, origin.entry_point, reason, remedy)


def about_distribution(
    check: str, severity: Severity, name: str, version: str, reason: str, remedy: str
) -> Finding:
    """Return a finding about a whole distribution."""
    return Finding(check, severity, name, version, "", reason, remedy)
