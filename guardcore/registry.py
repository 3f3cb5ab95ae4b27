"""Which components there are, by kind and name.

Names: a short name is kebab-case; the qualified one is ``distribution:name``. The built-ins'
short names are reserved. A short name that two third parties claim is an error where it is used,
never a matter of installation order. Nothing is shadowed, renamed or dropped in silence.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from guardcore.errors import GuardcoreError, did_you_mean
from guardcore.factories import Factory, options_of
from guardcore.kinds import KINDS, check_kind
from guardcore.options import Options
from guardcore.spec import Strategy

if TYPE_CHECKING:
    from guardcore.hookspecs import Registrar
    from guardcore.offers import Problem

BUILTIN = "guardcore"
"""The distribution whose short names are reserved."""

_SEE_LIST = "; see 'guardcore plugins list'"
_KEBAB = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Origin:
    """Where a plugin comes from."""

    distribution: str
    version: str
    entry_point: str
    module: str

    @property
    def key(self) -> str:
        """``distribution/entry-point``, unique in an environment."""
        return f"{self.distribution}/{self.entry_point}"


@dataclass(frozen=True)
class Registered:
    """One registered component: a factory with its options, or a strategy."""

    kind: str
    name: str
    origin: Origin
    factory: Factory | Strategy

    @property
    def qualified(self) -> str:
        """``distribution:name``."""
        return f"{self.origin.distribution}:{self.name}"

    @property
    def options(self) -> type[Options]:
        """The factory's options; a strategy has none."""
        return Options if isinstance(self.factory, Strategy) else options_of(self.factory)

    @property
    def description(self) -> str:
        """The first line of the docstring, or the strategy's description."""
        if isinstance(self.factory, Strategy):
            return self.factory.description
        return (inspect.getdoc(self.factory) or "").partition("\n")[0]

    def build(self, options: Options) -> object:
        """Build the component; a strategy is its own."""
        return self.factory if isinstance(self.factory, Strategy) else self.factory(options)


class Provider(Protocol):
    """Imports plugins when a name asks for them."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left to import."""

    def provide(self, distribution: str | None, /) -> None:
        """Import the built-ins, then a distribution's plugins, or with None everybody's."""

    def why_absent(self, distribution: str, /) -> str:
        """Return why a distribution is not loaded, on one line; empty where it is."""

    def blocked(self) -> Sequence[Problem]:
        """Return the plugins that may not be imported."""


class Registry:
    """All components that plugins have registered; what a name needs is imported first.

    A short name of a built-in needs nobody else, a qualified name its distribution, and every
    other short name, as looking through all components, everybody.
    """

    def __init__(self, provider: Provider | None = None) -> None:
        self._provider = provider
        self._entries: dict[tuple[str, str], Registered] = {}

    def __iter__(self) -> Iterator[Registered]:
        """Yield the components by kind, in the order of a run, then by name."""
        self._provide(None)
        return iter(self.registered())

    def registered(self) -> list[Registered]:
        """Return what has been registered up to now, in that order, importing nothing."""
        order = {kind: place for place, kind in enumerate(KINDS)}
        return sorted(self._entries.values(), key=lambda e: (order[e.kind], e.name, e.qualified))

    def registrar(self, kind: str, origin: Origin) -> Registrar:
        """Return the ``register`` that a plugin's hook of ``kind`` receives."""

        def register(name: str, factory: Factory | Strategy, /) -> None:
            if not _KEBAB.fullmatch(name):
                raise ValueError(f"component names are kebab-case, received {name!r}")
            if isinstance(factory, Strategy) != (kind == "strategy"):
                raise TypeError(f"{kind} {name!r}: received a {type(factory).__name__}")
            if not isinstance(factory, Strategy):
                options_of(factory)
            entry = Registered(kind, name, origin, factory)
            if (kind, entry.qualified) in self._entries:
                raise ValueError(f"{entry.qualified} is registered twice as a {kind}")
            self._entries[kind, entry.qualified] = entry

        return register

    def forget(self, origin: Origin) -> None:
        """Take back everything that a plugin registered."""
        self._entries = {k: e for k, e in self._entries.items() if e.origin != origin}

    def of_kind(self, kind: str) -> list[Registered]:
        """Return the components of one kind, by name."""
        return [entry for entry in self if entry.kind == kind]

    def claims(self, kind: str, name: str) -> list[Registered]:
        """Return every component of ``kind`` that claims the short name ``name``."""
        return [entry for entry in self.of_kind(kind) if entry.name == name]

    def builtin(self, kind: str, name: str) -> Registered | None:
        """Return the built-in component of a short name, if there is one."""
        self._provide(BUILTIN)
        return self._entries.get((kind, f"{BUILTIN}:{name}"))

    def find(self, kind: str, name: str) -> Registered:
        """Return the component that ``name`` (short or qualified) means.

        Raises:
            GuardcoreError: There is none, or two third parties claim the short name.
        """
        kind = check_kind(kind)
        distribution, colon, _ = name.rpartition(":")
        if colon:
            self._provide(distribution)
            claims = [e for e in (self._entries.get((kind, name)),) if e]
        else:
            builtin = self.builtin(kind, name)
            claims = [builtin] if builtin else self.claims(kind, name)
        if len(claims) > 1:
            names = " or ".join(entry.qualified for entry in claims)
            raise GuardcoreError(f"{kind} {name!r} is claimed more than once: say {names}")
        if not claims:
            raise GuardcoreError(self._unknown(kind, name))
        return claims[0]

    def require(self, distribution: str) -> None:
        """Import a distribution's plugins, whatever they register.

        Raises:
            GuardcoreError: There are none, they do not load, or they are blocked.
        """
        self._provide(distribution)
        if why := self._why_absent(distribution):
            raise GuardcoreError(why)

    def shortest_name(self, entry: Registered) -> str:
        """Return the short name where it is known to mean ``entry``, or else the qualified one."""
        if self.builtin(entry.kind, entry.name) == entry:
            return entry.name
        known = self._provider is None or self._provider.complete
        alone = known and self.claims(entry.kind, entry.name) == [entry]
        return entry.name if alone else entry.qualified

    def _provide(self, distribution: str | None) -> None:
        if self._provider is not None:
            self._provider.provide(distribution)

    def _why_absent(self, distribution: str) -> str:
        return self._provider.why_absent(distribution) if self._provider else ""

    def _unknown(self, kind: str, name: str) -> str:
        said = f"no {kind} is called {name!r}"
        entries = self.registered()
        elsewhere = [entry.kind for entry in entries if name in (entry.name, entry.qualified)]
        if elsewhere:
            return f"{said}; there is a {elsewhere[0]} of that name"
        own = [entry for entry in entries if entry.kind == kind]
        hint = did_you_mean(name, [n for entry in own for n in (entry.name, entry.qualified)])
        distribution, colon, _ = name.rpartition(":")
        if colon and (why := self._why_absent(distribution)):
            return f"{said}{hint}" if hint and why.startswith("no dist") else f"{said}; {why}"
        return f"{said}{hint or _SEE_LIST}{'' if colon else self._blocked()}"

    def _blocked(self) -> str:
        """Return whose components a short name cannot mean, because they may not be imported."""
        found = self._provider.blocked() if self._provider else ()
        named = {problem.origin.distribution: problem.reason for problem in found}
        listed = ", ".join(f"{name} ({reason})" for name, reason in named.items())
        return f"; not imported: {listed}" if listed else ""


def create(kind: str, name: str, **options: Any) -> Any:
    """Build one component of the installed plugins by name.

    >>> clip = create("ratio_transform", "ppo-clip", low=1e-4, high=1e-4)

    Raises:
        GuardcoreError: No such component, or options that it refuses, all of them at once.
    """
    from guardcore.bound import validate_options
    from guardcore.plugins import installed

    entry = installed().find(kind, name)
    return entry.build(validate_options(entry, options, path=f"{kind} {name}"))
