"""Each kind of unruly plugin is named with the right reason, and a sound one is left in peace."""

import json

import pytest

from guardcore import GuardcoreError, Options, hookimpl
from guardcore.doctor import CHECKS, examine
from guardcore.doctor.slow_imports import import_times
from guardcore.plugins import PluginHost
from guardcore.registry import Origin
from stranger import install, plugin

QUICK = {name: check for name, check in CHECKS.items() if name != "slow-import"}


def findings(*names):
    """What there is to say about some distributions, beside how long they take to import."""
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


def registering(definition, kinds="ratio_transforms", thing="word"):
    """A plugin that registers ``word``."""
    return f"""
from guardcore import Options, Strategy, hookimpl
from pydantic import Field
{definition}
@hookimpl
def guardcore_register_{kinds}(register):
    register("word", {thing})
"""


def test_a_sound_plugin_gives_no_finding(site):
    install(site, "sound", {"sound_word": plugin("sound")})
    report = examine(["sound"])
    assert report.findings == ()
    assert report.ok
    (examined,) = report.plugins
    assert (examined.plugin, examined.loaded, examined.components) == ("sound-word", True, 1)


def test_our_own_built_ins_give_no_finding():
    report = examine(["guardcore"])
    assert report.findings == ()
    assert len(report.plugins) >= 11
    assert all(plugin.loaded and plugin.components for plugin in report.plugins)


def test_a_built_in_whose_option_loses_its_description_would_be_found():
    class Bare(Options):
        scale: float = 1.0

    def word(options: Bare):
        """A word."""

    class Plugin:
        @hookimpl
        def guardcore_register_ratio_transforms(self, register):
            register("planted", word)

    host = PluginHost.discover()
    host.add(Plugin(), Origin("guardcore", "0", "planted", "planted"))
    (finding,) = examine(["guardcore"], host=host, checks=QUICK).findings
    assert (finding.check, finding.plugin) == ("description", "planted")
    assert finding.reason == "ratio_transform 'planted': no description of scale"


LOADING = {
    "import": [
        ("import no_such_module", "No module named 'no_such_module'"),
        ("raise RuntimeError('needs a GPU')", "RuntimeError: needs a GPU"),
    ],
    "hooks": [
        (plugin("word", kinds="sampler"), "did you mean 'guardcore_register_samplers'?"),
        (plugin("word").replace("(register)", "(registry)"), "registry"),
        (plugin("word").replace("@hookimpl\n", ""), "implements no hook"),
    ],
    "options": [
        (registering("def word(options: dict): ..."), "annotate its argument"),
        (registering("def word(): ..."), "exactly one argument"),
        (
            registering("class Loose(Options, extra='ignore'): ...\ndef word(o: Loose): ..."),
            "frozen",
        ),
    ],
    "registration": [
        (plugin("word") + "    raise OSError('half way')\n", "OSError: half way"),
        (plugin("Word"), "kebab-case"),
        (registering("", thing="Strategy(ratio=[])"), "received a Strategy"),
    ],
}


@pytest.mark.parametrize(
    ("check", "source", "reason"),
    [(check, *case) for check, cases in LOADING.items() for case in cases],
)
def test_a_plugin_that_cannot_be_loaded_is_a_failure_of_that_check(site, check, source, reason):
    install(site, "unruly", {"unruly_words": source})
    finding = the_finding("unruly")
    assert (finding.check, finding.severity) == (check, "failure")
    assert finding.plugin == "unruly-words"
    assert reason in finding.reason
    (examined,) = examine(["unruly"], checks={}).plugins
    assert examined.loaded == ("no hook" in reason)


def test_a_plugin_of_another_api_is_a_failure(site):
    install(site, "older", {"older_words": ""}, "[guardcore.v0]\nwords = older_words\n")
    finding = the_finding("older")
    assert (finding.check, finding.severity) == ("api", "failure")
    assert "guardcore.v0" in finding.reason


def test_metadata_that_cannot_be_read_is_a_failure(site):
    install(site, "damaged", {"damaged_words": ""}, "[guardcore.v1]\nno equals sign\n")
    (finding,) = examine(checks=QUICK).findings
    assert (finding.check, finding.severity) == ("metadata", "failure")
    assert "damaged-1.0.dist-info" in finding.distribution


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
    monkeypatch.setattr("sys.path", [str(site), *__import__("sys").path, str(tmp_path / "later")])
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


def test_a_claim_on_a_built_ins_name_is_a_warning_with_the_name_that_reaches_it(site):
    for name in ("usurper", "pretender"):
        install(site, name, {f"{name}_words": plugin("ppo-clip")})
    finding = the_finding("usurper")
    assert (finding.check, finding.severity) == ("reserved-name", "warning")
    assert "'usurper:ppo-clip'" in finding.remedy


def test_a_name_that_two_strangers_claim_is_a_warning_to_each(site):
    for name in ("first", "second"):
        install(site, name, {f"{name}_words": plugin("taken")})
    found = findings("first", "second")
    assert [finding.distribution for finding in found] == ["first", "second"]
    assert {(finding.check, finding.severity) for finding in found} == {("clash", "warning")}
    assert "claimed by second:taken too" in found[0].reason
    assert {finding.remedy for finding in found} == {"say first:taken or second:taken"}


COMPONENTS = {
    "defaults": (
        'class Mine(Options):\n    n: int = Field(0, ge=1, description="n")\n'
        'def word(options: Mine):\n    "A word."',
        "word.n: input should be greater than or equal to 1",
        "failure",
    ),
    "schema": (
        "class Thing: ...\n"
        "class Mine(Options, arbitrary_types_allowed=True):\n"
        '    thing: Thing = Field(description="a thing")\n'
        'def word(options: Mine):\n    "A word."',
        "Cannot generate a JsonSchema",
        "failure",
    ),
    "docstring": ("def word(options: Options): ...", "no docstring", "warning"),
    "description": (
        "class Inner(Options):\n    rank: int = 1\n"
        'class Mine(Options):\n    inner: Inner = Field(Inner(), description="adapters")\n'
        'def word(options: Mine):\n    "A word."',
        "no description of inner.rank",
        "warning",
    ),
}


@pytest.mark.parametrize("check", COMPONENTS)
def test_a_component_that_falls_short_is_found_by_that_check(site, check):
    definition, reason, severity = COMPONENTS[check]
    install(site, "short", {"short_words": registering(definition)})
    finding = the_finding("short")
    assert (finding.check, finding.severity) == (check, severity)
    assert reason in finding.reason


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("ratio=['ppo-clop']", "did you mean 'ppo-clip'"),
        ("ratio=[{'use': 'ppo-clip', 'low': 2}]", "ppo-clip.low: input should be less than 1"),
        ("ratio=[], gradient_weight=['ratio-norm']", "there is a ratio_transform of that name"),
    ],
)
def test_a_strategy_with_a_word_that_cannot_be_is_a_failure(site, words, reason):
    thing = f"Strategy({words}, description='Mine.')"
    install(site, "speech", {"speech_words": registering("", "strategies", thing)})
    finding = the_finding("speech")
    assert (finding.check, finding.severity) == ("strategy", "failure")
    assert reason in finding.reason


def test_a_slow_import_names_the_module_that_is_slow_and_blames_it_once(site):
    (site / "heavy_thing.py").write_text("import heavier_thing")
    (site / "heavier_thing.py").write_text("import time; time.sleep(0.7)")
    heavy = plugin("one") + "\nimport heavy_thing\n"
    install(site, "heavy", {"a_words": heavy, "b_words": heavy.replace("one", "two")})
    (finding,) = examine(["heavy"]).findings
    assert (finding.check, finding.severity) == ("slow-import", "warning")
    assert finding.plugin == "a-words"
    assert "heavy_thing alone 0." in finding.reason
    assert finding.remedy == "import heavy_thing inside the factory"


def test_a_plugin_that_is_slow_by_itself_is_told_so(site):
    install(site, "sleepy", {"sleepy_words": plugin("word") + "\nimport time; time.sleep(0.7)\n"})
    (finding,) = examine(["sleepy"]).findings
    assert finding.check == "slow-import"
    assert finding.remedy == "do inside the factory what the module does on import"


def test_import_times_outlive_what_an_import_does_to_its_interpreter(site):
    (site / "leaves.py").write_text("import os; os._exit(3)")
    (site / "raises.py").write_text("import time; time.sleep(0.05); raise SystemExit")
    raised, left, never = import_times(["raises", "leaves", "json"])
    assert raised.seconds > 0.05
    assert left.seconds == never.seconds == 0


def test_failures_come_first(site):
    install(site, "aaa", {"aaa_words": plugin("ppo-clip")})
    install(site, "zzz", {"zzz_words": "import no_such_module"})
    report = examine(checks={"reserved-name": QUICK["reserved-name"], **QUICK})
    assert [finding.severity for finding in report.findings] == ["failure", "warning"]
    assert not report.ok
    assert examine(["aaa"], checks=QUICK).ok


def test_a_distribution_without_plugins_gets_the_nearest_that_has_some(site):
    install(site, "sound", {"sound_word": plugin("sound")})
    with pytest.raises(GuardcoreError, match="'soudn' with plugins is installed; did you mean"):
        examine(["soudn"])
    with pytest.raises(GuardcoreError, match="those that do: guardcore, sound"):
        examine(["xyz"])
    assert len(examine(["Sound"], checks=QUICK).plugins) == 1
