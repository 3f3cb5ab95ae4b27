"""The plugin host: loads every plugin, records what does not load, and goes on.

pluggy's own entry-point loader aborts on one broken plugin and silently skips the second of two
distributions with one entry-point name. So this host keys a plugin as
``distribution/entry-point``, records each failure with its reason, and loads the rest.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path

import pluggy

from guardcore import hookspecs
from guardcore.errors import did_you_mean
from guardcore.hookspecs import ENTRY_POINT_GROUP, PROJECT
from guardcore.kinds import KINDS, OBSERVATION_HOOKS, registration_hook
from guardcore.observers import Observer, Observers
from guardcore.registry import BUILTIN, FactoryError, Origin, Registry

_ANY_API = re.compile(rf"{PROJECT}\.v\d+")


@dataclass(frozen=True)
class Problem:
    """A plugin, or one claim of it, that does not work as its author meant.

    Attributes:
        origin: Whose it is.
        check: What went wrong, in one word: ``metadata``, ``api``, ``import``, ``stale``,
            ``hooks``, ``options``, ``registration`` or ``reserved-name``.
        reason: What went wrong, on one line.
        remedy: What to do about it.
    """

    origin: Origin
    check: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        where = f"{self.origin.key} (version {self.origin.version}, {self.origin.module})"
        return f"{where}: {self.reason}; {self.remedy}"


class PluginHost:
    """Loads plugins and asks each what it registers.

    Attributes:
        registry: What they have registered.
        problems: What did not work.
        plugins: Those that were loaded.
        distributions: Every installed distribution by its normalised name; of several on
            ``sys.path`` the first counts.
    """

    def __init__(self) -> None:
        self.registry = Registry()
        self.problems: list[Problem] = []
        self.plugins: list[Origin] = []
        self.distributions: dict[str, list[Distribution]] = {}
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(hookspecs)

    @classmethod
    def discover(cls) -> PluginHost:
        """Return a host with every installed plugin."""
        host = cls()
        for distribution in distributions():
            try:
                name = normalised(distribution.metadata["Name"])
                points, version = plugin_points(distribution), distribution.version
            except Exception as error:  # a damaged dist-info is no reason to load nobody
                origin = Origin(str(getattr(distribution, "_path", distribution)), "?", "?", "?")
                reason = f"its metadata cannot be read: {error}"
                host.report(origin, "metadata", reason, "remove it, and install its package anew")
                continue
            copies = host.distributions.setdefault(name, [])
            copies.append(distribution)
            if len(copies) == 1:
                with redirect_stdout(sys.stderr):  # a stranger's print is not part of our output
                    host.load(name, version, points)
        host.record_clashes()
        return host

    def load(self, distribution: str, version: str, points: Sequence[EntryPoint]) -> None:
        """Import a distribution's plugins of this API, and report those that are only for others.

        A distribution may offer one entry-point name for several versions of the API.
        """
        ours = {point.name for point in points if point.group == ENTRY_POINT_GROUP}
        for point in points:
            origin = Origin(distribution, version, point.name, point.value)
            if point.group == ENTRY_POINT_GROUP:
                self._import(point, origin)
            elif point.name not in ours:
                reason = f"made for plugin API {point.group}, this is {ENTRY_POINT_GROUP}"
                self.report(
                    origin, "api", reason, f"install a version of {distribution} made for it"
                )

    def _import(self, point: EntryPoint, origin: Origin) -> None:
        try:
            plugin = point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit; a Rust extension's panic is no Exception
            self._report_import(point, origin, error)
            return
        self.add(plugin, origin)

    def _report_import(self, point: EntryPoint, origin: Origin, error: BaseException) -> None:
        reason = f"cannot be imported: {type(error).__name__}: {error}"
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{point.module}.".startswith(f"{missing}."):
            remedy = f"pip uninstall {origin.distribution}, or install it anew"
            self.report(origin, "stale", f"its module {missing!r} is gone", remedy)
        elif missing:
            self.report(origin, "import", reason, f"install what provides {missing!r}")
        else:
            remedy = f"pip install --upgrade {origin.distribution}, or tell its author"
            self.report(origin, "import", reason, remedy)

    def add(self, plugin: object, origin: Origin) -> None:
        """Take in one imported plugin: check its hooks, then let it register."""
        try:
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

    def _unknown_hook(self, plugin: object) -> str:
        """Return what is to be said of a plugin's first hook that nobody specified, if any."""
        callers = self._manager.get_hookcallers(plugin) or []
        unknown = [caller.name for caller in callers if not caller.has_spec()]
        known = [*(registration_hook(kind) for kind in KINDS), *OBSERVATION_HOOKS]
        return f"unknown hook {unknown[0]!r}{did_you_mean(unknown[0], known)}" if unknown else ""

    def observers(self) -> Observers:
        """Return the plugins' implementations of the hooks that observe, in order of loading."""
        origins = {origin.key: origin for origin in self.plugins}
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

    def record_clashes(self) -> None:
        """Report third parties' claims on a built-in's short name."""
        for entry in self.registry:
            claims = self.registry.claims(entry.kind, entry.name)
            builtin = any(claim.origin.distribution == BUILTIN for claim in claims)
            if builtin and entry.origin.distribution != BUILTIN:
                reason = f"the {entry.kind} name {entry.name!r} is built in"
                remedy = f"this one is reached as {entry.qualified!r}"
                self.report(entry.origin, "reserved-name", reason, remedy)

    def _register(self, plugin: object, origin: Origin) -> None:
        for kind in KINDS:
            caller = getattr(self._manager.hook, registration_hook(kind))
            for implementation in caller.get_hookimpls():
                if implementation.plugin is plugin:
                    implementation.function(self.registry.registrar(kind, origin))

    def report(self, origin: Origin, check: str, reason: str, remedy: str) -> None:
        """Record a problem, on one line."""
        self.problems.append(Problem(origin, check, " ".join(reason.split()), remedy))


def plugin_points(distribution: Distribution) -> list[EntryPoint]:
    """Return a distribution's entry points for this plugin API and every other version of it."""
    return [point for point in distribution.entry_points if _ANY_API.fullmatch(point.group)]


def normalised(name: str) -> str:
    """Return a distribution's name as the index writes it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> Registry:
    """Return the installed plugins' components, discovered anew when an installation changes."""
    return _installed(tuple((path, _changed(path)) for path in sys.path))


@lru_cache(maxsize=1)
def _installed(path: tuple[tuple[str, int], ...]) -> Registry:
    return PluginHost.discover().registry


def _changed(path: str) -> int:
    """Return when a folder of ``sys.path`` last gained or lost an entry, in ns; 0 where none is."""
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0
