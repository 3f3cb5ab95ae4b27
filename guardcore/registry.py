"""Which components there are, by kind and name.

Names: a short name is kebab-case; the qualified one is ``distribution:name``. The built-ins'
short names are reserved. A short name that two third parties claim is an error where it is used,
never a matter of installation order. Nothing is shadowed, renamed or dropped in silence.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guardcore.errors import GuardcoreError, did_you_mean
from guardcore.kinds import KINDS, check_kind
from guardcore.options import Options
from guardcore.spec import Strategy

if TYPE_CHECKING:
    from guardcore.hookspecs import Registrar

BUILTIN = "guardcore"
"""The distribution whose short names are reserved."""

Factory = Callable[[Any], object]
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


class Registry:
    """All components that the loaded plugins have registered."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], Registered] = {}

    def __iter__(self) -> Iterator[Registered]:
        """Yield the components by kind, in the order of a run, then by name."""
        order = {kind: place for place, kind in enumerate(KINDS)}
        return iter(
            sorted(self._entries.values(), key=lambda e: (order[e.kind], e.name, e.qualified))
        )

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

    def find(self, kind: str, name: str) -> Registered:
        """Return the component that ``name`` (short or qualified) means.

        Raises:
            GuardcoreError: There is none, or two third parties claim the short name.
        """
        kind = check_kind(kind)
        if ":" in name:
            found = self._entries.get((kind, name))
            if found is None:
                raise GuardcoreError(self._unknown(kind, name))
            return found
        claims = self.claims(kind, name)
        for entry in claims:
            if entry.origin.distribution == BUILTIN:
                return entry
        if len(claims) > 1:
            names = " or ".join(entry.qualified for entry in claims)
            raise GuardcoreError(f"{kind} {name!r} is claimed more than once: say {names}")
        if not claims:
            raise GuardcoreError(self._unknown(kind, name))
        return claims[0]

    def _unknown(self, kind: str, name: str) -> str:
        elsewhere = [entry.kind for entry in self if name in (entry.name, entry.qualified)]
        if elsewhere:
            return f"no {kind} is called {name!r}; there is a {elsewhere[0]} of that name"
        known = [n for entry in self.of_kind(kind) for n in (entry.name, entry.qualified)]
        hint = did_you_mean(name, known) or "; see 'guardcore plugins list'"
        return f"no {kind} is called {name!r}{hint}"


class FactoryError(TypeError):
    """A factory does not take exactly one argument that is annotated with ``Options``."""


def options_of(factory: Factory) -> type[Options]:
    """Return the ``Options`` class that a factory's one argument is annotated with.

    Raises:
        FactoryError: Not exactly one argument, or another annotation.
    """
    label = getattr(factory, "__qualname__", repr(factory))
    if not callable(factory):
        raise FactoryError(f"{label} is no function or class that takes options")
    parameters = list(inspect.signature(factory).parameters.values())
    if len(parameters) != 1:
        raise FactoryError(f"{label} must take exactly one argument, its options")
    annotation: Any = parameters[0].annotation
    if isinstance(annotation, str):  # `from __future__ import annotations`
        module = sys.modules[inspect.unwrap(factory).__module__]
        with contextlib.suppress(NameError, AttributeError):
            annotation = eval(annotation, vars(module))  # as typing.get_type_hints does
    if not (isinstance(annotation, type) and issubclass(annotation, Options)):
        raise FactoryError(f"{label}: annotate its argument with a subclass of guardcore.Options")
    if annotation.model_config.get("extra") != "forbid" or not annotation.model_config["frozen"]:
        raise FactoryError(f"{label}: its options must stay frozen and refuse unknown keys")
    return annotation


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
