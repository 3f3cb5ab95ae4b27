"""Components against the laws of their kind: the one check that builds what it looks at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guardcore.doctor.finding import Finding, Installation, about_plugin
from guardcore.registry import BUILTIN, Registered

UNCHECKED = "not-checked"
"""What a finding is called about a component of which nothing is known."""

_EXPLAINED = "docs/contract-kit.md explains the law; guardcore.testing.check_component repeats it"


def contract(installation: Installation) -> Iterator[Finding]:
    """Find components that break a law of their kind's contract.

    Third parties'; the built-ins only where ``guardcore`` is named, for they are many and our own
    tests check them. What is interrupted by Ctrl-C is left unchecked, with all that comes after.
    """
    entries = [entry for entry in installation.entries if _is_due(entry, installation)]
    for place, entry in enumerate(entries):
        installation.telling(f"{entry.kind} {entry.qualified}")
        try:
            finding = _finding(entry)
        except KeyboardInterrupt:
            yield from _interrupted(entries[place:])
            return
        if finding is not None:
            yield finding


def _is_due(entry: Registered, installation: Installation) -> bool:
    return entry.origin.distribution != BUILTIN or BUILTIN in (installation.names or ())


def _finding(entry: Registered) -> Finding | None:
    from guardcore.testing.component import NotBuildable, aside, check_registered
    from guardcore.testing.law import ContractError

    try:
        with aside():
            check_registered(entry)
    except ContractError as error:
        return about_plugin("contract", "failure", entry.origin, str(error), _EXPLAINED)
    except NotBuildable as error:
        return _unchecked(entry, str(error))
    return None


def _unchecked(entry: Registered, reason: str) -> Finding | None:
    """Return what is to be said of a third party's component that cannot be checked here."""
    if entry.origin.distribution == BUILTIN:  # an extra or a model that nobody has asked for
        return None
    reason = f"its {entry.kind} {entry.name!r} cannot be checked here: {reason}"
    remedy = "give what is missing, or check it in its author's tests"
    return about_plugin(UNCHECKED, "warning", entry.origin, reason, remedy)


def _interrupted(left: Sequence[Registered]) -> Iterator[Finding]:
    first, *others = left
    more = f", and {len(others)} after it" if others else ""
    reason = f"interrupted while its {first.kind} {first.name!r} was checked{more}"
    remedy = "'--no-contracts' leaves the contracts out"
    yield about_plugin(UNCHECKED, "warning", first.origin, reason, remedy)
