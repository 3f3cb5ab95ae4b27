"""What the doctor says of some distributions, for the tests."""

from guardcore.doctor import CHECKS, examine

QUICK = {name: check for name, check in CHECKS.items() if name not in ("slow-import", "contract")}


def findings(*names):
    """What there is to say about some distributions, beside imports' times and contracts."""
    found = examine(names, checks=QUICK).findings
    assert {finding.check for finding in found} <= set(QUICK)
    assert all("\n" not in finding.reason for finding in found)
    return list(found)


def the_finding(name):
    """The one finding about a distribution."""
    (finding,) = findings(name)
    assert (finding.distribution, finding.version) == (name, "1.0")
    assert finding.remedy
    return finding
