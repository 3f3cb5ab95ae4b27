"""The plugin host: loads every plugin, records what does not load, and goes on.

pluggy's own entry-point loader aborts on one broken plugin and silently skips the second of two
distributions with one entry-point name. So this host keys a plugin as
``distribution/entry-point``, records each failure with its reason, and loads the rest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, distributions

import pluggy

from guardcore import hookspecs
from guardcore.hookspecs import ENTRY_POINT_GROUP, PROJECT
from guardcore.kinds import KINDS, registration_hook
from guardcore.registry import BUILTIN, Origin, Registry

_ANY_API = re.compile(rf"{PROJECT}\.v\d+")


@dataclass(frozen=True)
class Problem:
    """A plugin, or one claim of it, that does not work as its author meant."""

    origin: Origin
    reason: str

    def __str__(self) -> str:
        where = f"{self.origin.key} (version {self.origin.version}, {self.origin.module})"
        return f"{where}: {self.reason}"


class PluginHost:
    """Loads plugins and asks each what it registers."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.problems: list[Problem] = []
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(hookspecs)

    @classmethod
    def discover(cls) -> PluginHost:
        """Return a host with every installed plugin."""
        host = cls()
        seen: set[str] = set()
        for distribution in distributions():
            try:
                name = _normalised(distribution.metadata["Name"])
                points = [p for p in distribution.entry_points if _ANY_API.fullmatch(p.group)]
                version = distribution.version
            except Exception as error:  # a damaged dist-info is no reason to load nobody
                origin = Origin(str(getattr(distribution, "_path", distribution)), "?", "?", "?")
                host.report(origin, f"its metadata cannot be read: {error}")
                continue
            if name not in seen:  # the same distribution twice on sys.path: the first one counts
                host.load(name, version, points)
            seen.add(name)
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
                self.report(
                    origin,
                    f"made for plugin API {point.group}, this is {ENTRY_POINT_GROUP}; "
                    "install a version of the plugin made for it",
                )

    def _import(self, point: EntryPoint, origin: Origin) -> None:
        try:
            plugin = point.load()
        except (Exception, SystemExit) as error:  # whatever a stranger's import raises
            self.report(origin, f"cannot be imported: {type(error).__name__}: {error}")
            return
        self.add(plugin, origin)

    def add(self, plugin: object, origin: Origin) -> None:
        """Take in one imported plugin: check its hooks, then let it register."""
        try:
            self._manager.register(plugin, name=origin.key)
            self._manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            if self._manager.get_plugin(origin.key) is not None:
                self._manager.unregister(name=origin.key)
            self.report(origin, str(error))
            return
        try:
            self._register(plugin, origin)
        except Exception as error:
            self.registry.forget(origin)
            self.report(origin, f"cannot register: {type(error).__name__}: {error}")

    def record_clashes(self) -> None:
        """Report third parties' claims on a built-in's short name."""
        for entry in self.registry:
            claims = self.registry.claims(entry.kind, entry.name)
            builtin = any(claim.origin.distribution == BUILTIN for claim in claims)
            if builtin and entry.origin.distribution != BUILTIN:
                self.report(
                    entry.origin,
                    f"the {entry.kind} name {entry.name!r} is built in; "
                    f"this one is reached as {entry.qualified!r}",
                )

    def _register(self, plugin: object, origin: Origin) -> None:
        for kind in KINDS:
            caller = getattr(self._manager.hook, registration_hook(kind))
            for implementation in caller.get_hookimpls():
                if implementation.plugin is plugin:
                    implementation.function(self.registry.registrar(kind, origin))

    def report(self, origin: Origin, reason: str) -> None:
        """Record a problem, on one line."""
        self.problems.append(Problem(origin, " ".join(reason.split())))


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()  # PEP 503
