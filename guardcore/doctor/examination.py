"""All checks, over all plugins or some distributions'."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from guardcore.doctor import components, contracts, distributions, loading, slow_imports
from guardcore.doctor.finding import Check, Finding, Installation, silent
from guardcore.errors import GuardcoreError, did_you_mean
from guardcore.plugins import PluginHost, normalised
from guardcore.registry import Origin

CHECKS: Mapping[str, Check] = {
    "metadata": loading.met_by_host("metadata"),
    "api": loading.met_by_host("api"),
    "stale": distributions.stale,
    "import": loading.met_by_host("import"),
    "hooks": loading.met_by_host("hooks"),
    "options": loading.met_by_host("options"),
    "registration": loading.met_by_host("registration"),
    "dependencies": distributions.dependencies,
    "defaults": components.defaults,
    "schema": components.schema,
    "strategy": components.strategy,
    "contract": contracts.contract,
    "reserved-name": loading.met_by_host("reserved-name", "warning"),
    "clash": loading.clash,
    "duplicate": distributions.duplicate,
    "description": components.description,
    "docstring": components.docstring,
    "slow-import": slow_imports.slow_import,
}
"""Every check by its name; failures first."""


@dataclass(frozen=True)
class Examined:
    """One plugin that was looked at; ``components`` counts what it registered."""

    distribution: str
    version: str
    plugin: str
    module: str
    loaded: bool
    components: int


@dataclass(frozen=True)
class Report:
    """What was found, and in what."""

    findings: tuple[Finding, ...]
    plugins: tuple[Examined, ...]

    @property
    def ok(self) -> bool:
        """Whether no finding is a failure."""
        return all(finding.severity != "failure" for finding in self.findings)


def examine(
    only: Iterable[str] = (),
    *,
    host: PluginHost | None = None,
    checks: Mapping[str, Check] = CHECKS,
    telling: Callable[[str], None] = silent,
) -> Report:
    """Run the checks.

    Args:
        only: Distributions to look at; all by default.
        host: The plugins; those installed by default.
        checks: What to look for.
        telling: Told each component whose contract is about to be checked, which may take a while.

    Raises:
        GuardcoreError: ``only`` names a distribution that offers no plugin.
    """
    host = host or PluginHost.discover()
    names = [normalised(name) for name in only]
    installation = Installation(host, frozenset(names) if names else None, telling)
    plugins = _plugins(Installation(host))
    known = {plugin.distribution for plugin in plugins}
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"; those that do: {', '.join(sorted(known))}"
            raise GuardcoreError(f"no distribution {name!r} with plugins is installed{hint}")
    findings = [finding for check in checks.values() for finding in check(installation)]
    findings.sort(key=lambda finding: finding.severity != "failure")
    chosen = [plugin for plugin in plugins if installation.includes(plugin.distribution)]
    return Report(tuple(findings), tuple(chosen))


def _plugins(installation: Installation) -> list[Examined]:
    """Return every plugin, those first that were loaded."""
    loaded = installation.plugins
    failed = [p.origin for p in installation.host.problems if p.origin not in loaded]
    components = [entry.origin for entry in installation.entries]
    return [
        _examined(origin, origin in loaded, components.count(origin))
        for origin in dict.fromkeys([*loaded, *failed])
    ]


def _examined(origin: Origin, loaded: bool, components: int) -> Examined:
    name, version = origin.distribution, origin.version
    return Examined(name, version, origin.entry_point, origin.module, loaded, components)
