"""Each kind of unruly plugin is named with the right reason, and a sound one is left in peace."""

import pytest

from diagnosis import QUICK, findings, the_finding
from guardcore import GuardcoreError, Options, hookimpl
from guardcore.doctor import CHECKS, examine
from guardcore.plugins import PluginHost
from guardcore.registry import Origin
from stranger import install, plugin


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
    report = examine(["guardcore"], checks={n: c for n, c in CHECKS.items() if n != "contract"})
    assert report.findings == ()
    assert len(report.plugins) >= 11
    assert all(plugin.loaded for plugin in report.plugins)
    bare = [plugin.plugin for plugin in report.plugins if not plugin.components]
    assert bare == ["alarms"]  # it observes


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
