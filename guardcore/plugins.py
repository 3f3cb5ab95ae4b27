"""The plugin host: metadata first, imports second; what does not load is recorded.

pluggy's own entry-point loader imports everybody, aborts on one broken plugin and silently skips
the second of two distributions with one entry-point name. So this host keys a plugin as
``distribution/entry-point``, imports those that are asked for, and records each failure.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import lru_cache
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pluggy

from guardcore import hookspecs
from guardcore.errors import did_you_mean
from guardcore.factories import FactoryError
from guardcore.hookspecs import PROJECT
from guardcore.kinds import KINDS, OBSERVATION_HOOKS, registration_hook
from guardcore.observers import Observer, Observers
from guardcore.offers import Offer, Offers, Problem, absence, installed_offers
from guardcore.offers import normalised as normalised
from guardcore.permission import Permission
from guardcore.registry import BUILTIN, Origin, Registry


class PluginHost:
    """Imports plugins when they are asked for, and asks each what it registers.

    Attributes:
        registry: What they have registered; it asks for what a name needs.
        problems: What did not work.
        plugins: Those that were loaded.
        offers: What is installed, from metadata.
        distributions: Those that offer plugins, likewise, each with its copies.
    """

    def __init__(
        self,
        offers: Offers | None = None,
        permission: Permission | None = None,
        specifications: ModuleType | type = hookspecs,
    ) -> None:
        self.offers = offers or Offers()
        self.distributions = self.offers.distributions
        self.permission = permission or Permission()
        self.registry = Registry(self)
        self.problems = list(self.offers.problems)
        self.plugins: list[Origin] = []
        self._waiting: dict[str, list[Offer]] = {}
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(specifications)
        for name, offered in self.offers.by_distribution.items():
            self._admit(name, offered)

    @classmethod
    def scan(cls) -> PluginHost:
        """Return a host that has imported nobody."""
        return cls(installed_offers(), Permission.from_environment())

    @classmethod
    def on_demand(cls) -> PluginHost:
        """Return a host with the built-ins, which imports others when a name asks for them."""
        host = cls.scan()
        host.provide(BUILTIN)
        return host

    @classmethod
    def discover(cls) -> PluginHost:
        """Return a host with every installed plugin that may be imported."""
        host = cls.scan()
        host.provide(None)
        return host

    @property
    def complete(self) -> bool:
        """Whether nothing is left to import."""
        return not self._waiting

    def provide(self, distribution: str | None) -> None:
        """Import a distribution's plugins, after the built-ins; with None everybody's."""
        asked = list(self._waiting) if distribution is None else [normalised(distribution)]
        for offer in (o for name in (BUILTIN, *asked) for o in self._waiting.pop(name, ())):
            with redirect_stdout(sys.stderr):  # a stranger's print is no part of our output
                self._import(offer.point, offer.origin)

    def why_absent(self, distribution: str) -> str:
        """Return why a distribution is not loaded as a whole, on one line; empty where it is."""
        loaded = {origin.distribution for origin in self.plugins}
        failed = [problem for problem in self.problems if problem.origin not in self.plugins]
        return absence(normalised(distribution), loaded, failed, self.offers)

    def blocked(self) -> list[Problem]:
        """Return the plugins that may not be imported."""
        found = [problem for problem in self.problems if problem.check == "blocked"]
        return sorted(found, key=lambda problem: problem.origin.key)

    def _admit(self, name: str, offered: list[Offer]) -> None:
        if (refusal := self.permission.refusal(name)) is None:
            self._waiting[name] = offered
        else:
            for offer in offered:
                self.report(offer.origin, "blocked", f"blocked by {refusal.by}", refusal.remedy)

    def _import(self, point: EntryPoint, origin: Origin) -> None:
        try:
            plugin = point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit; a Rust extension's panic is no Exception
            self._report_import(point, origin, error)
        else:
            self.add(plugin, origin)

    def _report_import(self, point: EntryPoint, origin: Origin, error: BaseException) -> None:
        reason = f"cannot be imported: {type(error).__name__}: {error}"
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{point.module}.".startswith(f"{missing}."):
            remedy = f"pip uninstall {origin.distribution}, or install it anew"
            self.report(origin, "stale", f"its module {missing!r} is gone", remedy)
        else:
            anew = f"pip install --upgrade {origin.distribution}, or tell its author"
            remedy = f"install what provides {missing!r}" if missing else anew
            self.report(origin, "import", reason, remedy)

    def add(self, plugin: object, origin: Origin) -> None:
        """Take in one imported plugin: check its hooks, then let it register."""
        try:
            with self._deprecations(origin):
                self._manager.register(plugin, name=origin.key)
                self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            reason = self._unknown_hook(plugin) or str(error)
            if self._manager.get_plugin(origin.key) is not None:
                self._manager.unregister(name=origin.key)
            remedy = "write hooks and their arguments as in guardcore/hookspecs.py"
            self.report(origin, "hooks", reason, remedy)
            return
        except ValueError:  # pluggy refuses one object under two names
            other = self._manager.get_name(plugin)
            reason = f"{origin.module} is loaded already, as {other}"
            self.report(origin, "registration", reason, "name it in one entry point only")
            return
        if not self._manager.get_hookcallers(plugin):
            remedy = "write @hookimpl before each of its guardcore_register_… functions"
            self.report(origin, "hooks", "implements no hook", remedy)
        self._ask(plugin, origin)

    @contextmanager
    def _deprecations(self, origin: Origin) -> Iterator[None]:
        """Report what pluggy warns of inside: a hook or an argument that is to go."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DeprecationWarning)
            yield
        for warning in caught:
            reason, _, remedy = str(warning.message).partition("; ")
            self.report(origin, "deprecated", reason, remedy or "see the changelog")

    def _ask(self, plugin: object, origin: Origin) -> None:
        """Let a plugin register; of one that fails half way nothing stays."""
        try:
            self._register(plugin, origin)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.registry.forget(origin)
            faulty = isinstance(error, FactoryError)
            what = str(error) if faulty else f"{type(error).__name__}: {error}"
            remedy = f"pip install --upgrade {origin.distribution}, or tell its author"
            check = "options" if faulty else "registration"
            self.report(origin, check, f"cannot register: {what}", remedy)
        else:
            self.plugins.append(origin)
            self._report_reserved(origin)

    def _unknown_hook(self, plugin: object) -> str:
        """Return what is to be said of a plugin's first hook that nobody specified, if any."""
        callers = self._manager.get_hookcallers(plugin) or []
        unknown = [caller.name for caller in callers if not caller.has_spec()]
        known = [*(registration_hook(kind) for kind in KINDS), *OBSERVATION_HOOKS]
        return f"unknown hook {unknown[0]!r}{did_you_mean(unknown[0], known)}" if unknown else ""

    def observers(self, only: Collection[str] | None = None) -> Observers:
        """Return the plugins' implementations of the hooks that observe, in order of loading.

        Args:
            only: Beside the built-ins, these distributions'; by default everybody's.
        """
        origins = {
            origin.key: origin
            for origin in self.plugins
            if only is None or origin.distribution in {BUILTIN, *only}
        }
        return Observers(
            {
                name: [
                    Observer(origins[found.plugin_name], found.function, found.argnames)
                    for found in getattr(self._manager.hook, name).get_hookimpls()
                    if found.plugin_name in origins
                ]
                for name in OBSERVATION_HOOKS
            }
        )

    def _report_reserved(self, origin: Origin) -> None:
        """Report a third party's claims on built-ins' short names."""
        for entry in self.registry.registered():
            if entry.origin != origin or origin.distribution == BUILTIN:
                continue
            if self.registry.builtin(entry.kind, entry.name) is not None:
                reason = f"the {entry.kind} name {entry.name!r} is built in"
                remedy = f"this one is reached as {entry.qualified!r}"
                self.report(origin, "reserved-name", reason, remedy)

    def _register(self, plugin: object, origin: Origin) -> None:
        for kind in KINDS:
            caller = getattr(self._manager.hook, registration_hook(kind))
            for implementation in caller.get_hookimpls():
                if implementation.plugin is plugin:
                    implementation.function(self.registry.registrar(kind, origin))

    def report(self, origin: Origin, check: str, reason: str, remedy: str) -> None:
        """Record a problem, on one line."""
        self.problems.append(Problem(origin, check, " ".join(reason.split()), remedy))


def installed() -> Registry:
    """Return the installed plugins' components, scanned anew when an installation changes."""
    path = tuple((path, _changed(path)) for path in sys.path)
    return _installed(path, Permission.from_environment())


@lru_cache(maxsize=1)
def _installed(path: tuple[tuple[str, int], ...], permission: Permission) -> Registry:
    return PluginHost(installed_offers(), permission).registry


def _changed(path: str) -> int:
    """Return when a folder of ``sys.path`` last gained or lost an entry, in ns; 0 where none is."""
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0
