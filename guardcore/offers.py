"""Which plugins are installed, from metadata alone: nothing here imports anybody's module."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import Distribution, EntryPoint, distributions

from guardcore.errors import did_you_mean
from guardcore.hookspecs import ENTRY_POINT_GROUP, PROJECT
from guardcore.registry import BUILTIN, Origin

_ANY_API = re.compile(rf"{PROJECT}\.v\d+")


@dataclass(frozen=True)
class Problem:
    """A plugin, or one claim of it, that does not work as its author meant.

    Attributes:
        origin: Whose it is.
        check: What went wrong, in one word: ``metadata``, ``api``, ``blocked``, ``import``,
            ``stale``, ``hooks``, ``options``, ``registration``, ``reserved-name`` or
            ``deprecated``.
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


@dataclass(frozen=True)
class Offer:
    """An entry point of this plugin API, not imported."""

    origin: Origin
    point: EntryPoint


@dataclass
class Offers:
    """What the distributions on ``sys.path`` offer.

    Attributes:
        distributions: Those that offer plugins, of any version of the API, by normalised name;
            of several copies on ``sys.path`` the first counts, if it offers any or not.
        by_distribution: The plugins of this API that each distribution offers.
        problems: Damaged metadata, and plugins that are only for other versions of the API.
    """

    distributions: dict[str, list[Distribution]] = field(default_factory=dict)
    by_distribution: dict[str, list[Offer]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def origins(self) -> list[Origin]:
        """Return every plugin of this API, by distribution and name, the built-ins first."""
        offered = [offer.origin for offers in self.by_distribution.values() for offer in offers]
        return sorted(offered, key=lambda o: (o.distribution != BUILTIN, o.key))

    def take(self, distribution: Distribution) -> None:
        """Note what a distribution offers, unless it is another copy of one that was noted."""
        with self.reading(distribution):
            name = normalised(distribution.metadata["Name"])
            points, version = plugin_points(distribution), distribution.version
            copies = self.distributions.setdefault(name, [])
            copies.append(distribution)
            if len(copies) == 1:
                self._note(name, version, points)

    @contextmanager
    def reading(self, distribution: Distribution) -> Iterator[None]:
        """Inside, a damaged dist-info is a problem of its own, and no reason to load nobody."""
        try:
            yield
        except Exception as error:
            origin = Origin(str(getattr(distribution, "_path", distribution)), "?", "?", "?")
            reason = f"its metadata cannot be read: {' '.join(str(error).split())}"
            remedy = "remove it, and install its package anew"
            problem = Problem(origin, "metadata", reason, remedy)
            if problem not in self.problems:
                self.problems.append(problem)

    def _note(self, name: str, version: str, points: Sequence[EntryPoint]) -> None:
        """Note entry points; a distribution may offer one name for several versions of the API."""
        ours = {point.name for point in points if point.group == ENTRY_POINT_GROUP}
        for point in points:
            origin = Origin(name, version, point.name, point.value)
            if point.group == ENTRY_POINT_GROUP:
                self.by_distribution.setdefault(name, []).append(Offer(origin, point))
            elif point.name not in ours:
                reason = f"made for plugin API {point.group}, this is {ENTRY_POINT_GROUP}"
                remedy = f"install a version of {name} made for it"
                self.problems.append(Problem(origin, "api", reason, remedy))


def installed_offers() -> Offers:
    """Return what is installed now.

    The metadata of those alone that have entry points of ours is read: parsing everybody's would
    take longer than all else that a command does before it starts.
    """
    offers, found = Offers(), {}
    for distribution in distributions():
        with offers.reading(distribution):
            if plugin_points(distribution):
                found[normalised(distribution.metadata["Name"])] = distribution
    for name, distribution in found.items():
        for copy in [*distributions(name=name)] or [distribution]:
            offers.take(copy)
    return offers


def absence(name: str, loaded: Collection[str], failed: Sequence[Problem], offers: Offers) -> str:
    """Return why a distribution is not loaded as a whole, on one line; empty where it is.

    Args:
        name: Normalised.
        loaded: The distributions of which a plugin is loaded.
        failed: What is wrong with plugins that are not.
        offers: What is installed.
    """
    for problem in failed:
        if problem.origin.distribution != name or (problem.check == "api" and name in loaded):
            continue
        if problem.check == "blocked":
            return f"{name} is {problem.reason}: {problem.remedy}"
        return str(problem)
    if name in loaded:
        return ""
    hint = did_you_mean(name, [*loaded, *offers.by_distribution])
    return f"no distribution {name!r} with plugins is installed{hint}"


def plugin_points(distribution: Distribution) -> list[EntryPoint]:
    """Return a distribution's entry points for this plugin API and every other version of it."""
    return [point for point in distribution.entry_points if _ANY_API.fullmatch(point.group)]


def normalised(name: str) -> str:
    """Return a distribution's name as the index writes it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
