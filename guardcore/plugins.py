"""The plugin host: loads every plugin, records what does not load, and goes on.

pluggy's own entry-point loader aborts on one broken plugin and silently skips the second of two
distributions with one entry-point name. So this host keys a plugin as
``distribution/entry-point``, records each failure with its reason, and loads the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, distributions

import pluggy

from guardcore import hookspecs
from guardcore.hookspecs import ENTRY_POINT_GROUP, PROJECT
from guardcore.kinds import KINDS, registration_hook
from guardcore.registry import BUILTIN, Origin, Registry

_ANY_VERSION = re.compile(rf"{PROJECT}\.v\d+")


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
        self.origins: list[Origin] = []
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(hookspecs)

    @classmethod
    def discover(cls) -> PluginHost:
        """Return a host with every installed plugin."""
        host = cls()
        host.load(
            point
            for distribution in distributions()
            for point in distribution.entry_points
            if _ANY_VERSION.fullmatch(point.group)
        )
        host.record_clashes()
        return host

    def load(self, points: Iterable[EntryPoint]) -> None:
        """Import the plugins of this API's version, and report those of others."""
        for point in sorted(set(points), key=lambda p: (_distribution(p)[0], p.name)):
            name, version = _distribution(point)
            origin = Origin(name, version, point.name, point.value)
            if any(known.key == origin.key for known in self.origins):
                continue  # the same distribution, found twice on sys.path
            self.origins.append(origin)
            if point.group != ENTRY_POINT_GROUP:
                self._report(
                    origin,
                    f"plugin API {point.group}, this is {ENTRY_POINT_GROUP}; "
                    "install a version of the plugin made for it",
                )
                continue
            try:
                plugin = point.load()
            except Exception as error:  # whatever a stranger's import raises
                self._report(origin, f"cannot be imported: {type(error).__name__}: {error}")
                continue
            self.add(plugin, origin)

    def add(self, plugin: object, origin: Origin) -> None:
        """Take in one imported plugin: check its hooks, then let it register."""
        try:
            self._manager.register(plugin, name=origin.key)
            self._manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            if self._manager.get_plugin(origin.key) is not None:
                self._manager.unregister(name=origin.key)
            self._report(origin, str(error).replace("\n", " "))
            return
        try:
            self._register(plugin, origin)
        except Exception as error:
            self.registry.forget(origin)
            self._report(origin, f"cannot register: {type(error).__name__}: {error}")

    def record_clashes(self) -> None:
        """Report third parties' claims on a built-in's short name."""
        for entry in self.registry:
            claims = self.registry.claims(entry.kind, entry.name)
            builtin = any(claim.origin.distribution == BUILTIN for claim in claims)
            if builtin and entry.origin.distribution != BUILTIN:
                self._report(
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

    def _report(self, origin: Origin, reason: str) -> None:
        self.problems.append(Problem(origin, reason))


def _distribution(point: EntryPoint) -> tuple[str, str]:
    if point.dist is None:
        return "unknown", "unknown"
    name = re.sub(r"[-_.]+", "-", point.dist.name).lower()  # PEP 503
    return name, point.dist.version
