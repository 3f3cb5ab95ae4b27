"""Checks on what happened when the host loaded the plugins."""

from __future__ import annotations

from collections.abc import Iterator

from guardcore.doctor.finding import Check, Finding, Installation, Severity, about_plugin


def met_by_host(check: str, severity: Severity = "failure") -> Check:
    """Return the check that passes on the host's problems of one sort."""

    def problems(installation: Installation) -> Iterator[Finding]:
        for problem in installation.host.problems:
            origin = problem.origin
            if problem.check == check and installation.includes(origin.distribution):
                yield about_plugin(check, severity, origin, problem.reason, problem.remedy)

    return problems


def clash(installation: Installation) -> Iterator[Finding]:
    """Find short names that several third parties claim; only their use is an error."""
    for entry in installation.entries:
        reserved = any(
            problem.check == "reserved-name" and problem.origin == entry.origin
            for problem in installation.host.problems
        )
        claims = installation.host.registry.claims(entry.kind, entry.name)
        others = [claim.qualified for claim in claims if claim != entry]
        if others and not reserved and entry.origin.distribution != "guardcore":
            reason = (
                f"the {entry.kind} name {entry.name!r} is claimed by {' and '.join(others)} too"
            )
            remedy = f"say {' or '.join(claim.qualified for claim in claims)}"
            yield about_plugin("clash", "warning", entry.origin, reason, remedy)
