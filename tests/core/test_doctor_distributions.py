"""What a distribution needs, and whether it is still whole."""

import json
import sys

import pytest

from diagnosis import findings, the_finding
from stranger import install, plugin


def test_an_entry_point_whose_module_is_gone_is_stale(site):
    install(site, "gone", {}, {"words": "gone_words.plugin"})
    finding = the_finding("gone")
    assert (finding.check, finding.severity, finding.plugin) == ("stale", "failure", "words")
    assert finding.reason == "its module 'gone_words' is gone"
    assert "pip uninstall gone" in finding.remedy


def editable(info, source):
    record = {"url": source.as_uri(), "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(record))


@pytest.mark.parametrize("modules", [{}, {"moved_words": plugin("moved")}], ids=["gone", "found"])
def test_an_editable_install_from_a_vanished_directory_is_stale(site, tmp_path, modules):
    info = install(site, "moved", modules, {"words": "moved_words"})
    source = tmp_path / "work tree"
    editable(info, source)
    finding = the_finding("moved")
    assert (finding.check, finding.severity) == ("stale", "failure")
    assert f"from {source}, which is gone" in finding.reason
    if modules:
        source.mkdir()
        assert findings("moved") == []


UNMET = {
    "Requires-Dist: absent-package>=1": "needs absent-package>=1, which is not installed",
    "Requires-Dist: pydantic<2": "needs pydantic<2, 2.",
    "Requires-Dist: guardcore>=99": "needs guardcore>=99, 0.",
    "Requires-Dist: Absent_Package; python_version >= '3'": "which is not installed",
    "Requires-Dist: not a requirement": "cannot be read",
    "Requires-Dist: helper[fast]": "needs helper[fast], which needs absent-engine, which is not",
    "Requires-Dist: helper[slow]>2": "needs helper[slow]>2, 1.0 is installed",
    "Requires-Python: >=99": "needs Python >=99",
    "Requires-Python: sometimes": "'sometimes' cannot be read",
}


@pytest.fixture
def helper(site):
    """A library with an extra whose requirement is missing, and one whose is there.

    What it needs without an extra is its own affair.
    """
    extras = "Requires-Dist: absent-engine; extra == 'fast'\nRequires-Dist: rich; extra == 'slow'\n"
    own = "Requires-Dist: absent-base; python_version >= '3'\nRequires-Dist: absent-core\n"
    install(site, "helper", {}, "", metadata=extras + own)


@pytest.mark.parametrize("line", UNMET)
def test_a_requirement_that_is_not_met_is_a_failure(site, helper, line):
    install(site, "needy", {"needy_words": plugin("needy")}, metadata=line + "\n")
    finding = the_finding("needy")
    assert (finding.check, finding.severity, finding.plugin) == ("dependencies", "failure", "")
    assert UNMET[line] in finding.reason


@pytest.mark.parametrize(
    "line",
    [
        "Requires-Dist: pydantic>=2",
        "Requires-Dist: Guard.Core",
        "Requires-Dist: guardcore",
        "Requires-Dist: absent-package; python_version < '3'",
        "Requires-Dist: absent-package; extra == 'optional'",
        "Requires-Dist: helper",
        "Requires-Dist: helper[slow]",
        "Requires-Dist: early>=2.0a1",
        "Requires-Python: >=3.11",
    ],
)
def test_a_requirement_that_is_met_or_not_in_force_is_no_finding(site, helper, line):
    install(site, "guard-core", {}, "")
    install(site, "early", {}, "", version="2.0b2")
    install(site, "content", {"content_words": plugin("content")}, metadata=line + "\n")
    assert findings("content") == []


def test_a_distribution_in_two_folders_is_a_warning(site, tmp_path, monkeypatch):
    install(site, "twice", {"twice_words": plugin("twice")})
    install(tmp_path / "later", "twice", {}, "", version="0.9")
    monkeypatch.setattr("sys.path", [str(site), *sys.path, str(tmp_path / "later")])
    finding = the_finding("twice")
    assert (finding.check, finding.severity) == ("duplicate", "warning")
    assert f"1.0 in {site} counts, 0.9 in {tmp_path / 'later'} does not" in finding.reason


def test_a_distribution_twice_in_one_folder_is_a_warning(site):
    for version in ("1.0", "1.1"):
        install(site, "twice", {"twice_words": plugin("twice")}, version=version)
    assert [finding.check for finding in findings("twice")] == ["duplicate"]


def test_one_folder_twice_on_the_path_and_an_editable_sources_own_metadata_are_no_duplicates(
    site, tmp_path, monkeypatch
):
    info = install(site, "once", {"once_words": plugin("once")})
    source = tmp_path / "work"
    install(source / "src", "once", {}, "", version="0.9")
    editable(info, source)
    monkeypatch.syspath_prepend(str(source / "src"))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.syspath_prepend(f"{site}/../site")
    assert findings("once") == []
