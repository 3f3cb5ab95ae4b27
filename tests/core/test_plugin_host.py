"""One stranger's mistake is recorded with its origin, and everybody else still loads."""

import sys
from textwrap import dedent

import pytest

from guardcore import GuardcoreError, create
from guardcore.hookspecs import ENTRY_POINT_GROUP
from guardcore.kinds import KINDS
from guardcore.plugins import PluginHost
from guardcore.registry import Origin
from stranger import install, plugin


def strangers(host):
    return [entry.qualified for entry in host.registry if entry.origin.distribution != "guardcore"]


@pytest.fixture
def load(site):
    """Discover with a sound third party beside whatever the test has installed."""

    def discover():
        install(site, "sound", {"sound_word": plugin("sound")})
        return PluginHost.discover()

    return discover


def problem_of(host, distribution):
    """The one problem of a distribution, all others loaded."""
    assert "sound:sound" in strangers(host)
    assert {entry.kind for entry in host.registry} == set(KINDS)  # the built-ins are all there
    (problem,) = host.problems
    assert problem.origin.distribution == distribution
    assert "\n" not in str(problem)
    return str(problem)


def test_the_built_ins_load_without_a_problem_through_their_entry_points():
    host = PluginHost.discover()
    assert [p for p in host.problems if p.origin.distribution == "guardcore"] == []
    assert {entry.kind for entry in host.registry} == set(KINDS)


def test_a_third_partys_component_is_found_with_its_origin(load):
    entry = load().registry.find("ratio_transform", "sound")
    assert entry.origin == Origin("sound", "1.0", "sound-word", "sound_word")
    assert entry.qualified == "sound:sound"
    assert entry.description == "A stranger's word."


def test_create_reaches_a_third_partys_component(site):
    install(site, "loud", {"loud_word": plugin("loud", result="LOUD")})
    assert create("ratio_transform", "loud") == create("ratio-transform", "loud:loud") == "LOUD"


def test_create_sees_what_is_installed_between_two_calls(site):
    install(site, "early", {"early_word": plugin("early", result="EARLY")})
    assert create("ratio_transform", "early") == "EARLY"
    install(site, "late", {"late_word": plugin("late", result="LATE")})
    assert create("ratio_transform", "late") == "LATE"


def test_distributions_are_named_as_the_index_names_them(site):
    install(site, "My_Great.Words", {"great_words": plugin("great")})
    assert PluginHost.discover().registry.find("ratio_transform", "my-great-words:great")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module_anywhere", "No module named 'no_such_module_anywhere'"),
        ("raise RuntimeError('needs a GPU')", "RuntimeError: needs a GPU"),
        ("def broken(:", "SyntaxError"),
        ("import sys; sys.exit('no licence')", "SystemExit: no licence"),
        ("from guardcore import no_such_name", "ImportError"),
        ("class Panic(BaseException): ...\nraise Panic('no Exception')", "Panic: no Exception"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_recorded(site, load, source, reason):
    install(site, "broken", {"broken_words": source})
    problem = problem_of(load(), "broken")
    assert problem.startswith("broken/broken-words (version 1.0, broken_words): cannot be imported")
    assert reason in problem


def test_an_entry_point_without_a_module_is_recorded(site, load):
    install(site, "absent", {}, {"words": "module_that_was_never_shipped"})
    assert "module_that_was_never_shipped" in problem_of(load(), "absent")


def test_a_misspelt_hook_is_recorded_with_the_nearest(site, load):
    install(site, "misspelt", {"misspelt_words": plugin("word", kinds="ratio_transform")})
    problem = problem_of(load(), "misspelt")
    assert "unknown hook 'guardcore_register_ratio_transform'" in problem
    assert "did you mean 'guardcore_register_ratio_transforms'?" in problem


def test_a_plugin_whose_hooks_are_not_marked_is_recorded(site, load):
    install(site, "silent", {"silent_words": plugin("word").replace("@hookimpl\n", "")})
    assert "implements no hook; write @hookimpl" in problem_of(load(), "silent")


def test_what_a_plugin_prints_on_import_stays_out_of_standard_output(site, load, capsys):
    install(site, "noisy", {"noisy_words": plugin("noisy") + "\nprint('hello')\n"})
    assert "noisy:noisy" in strangers(load())
    assert capsys.readouterr().out == ""


def test_a_hook_with_another_argument_is_recorded(site, load):
    source = plugin("word").replace("(register)", "(registry)")
    install(site, "renamed", {"renamed_words": source})
    assert "registry" in problem_of(load(), "renamed")


@pytest.mark.parametrize("group", ["guardcore.v0", "guardcore.v2", "guardcore.v10"])
def test_a_plugin_of_another_api_is_reported_and_not_imported(site, load, group):
    install(
        site,
        "other-api",
        {"other_words": "raise AssertionError('imported')"},
        f"[{group}]\nwords = other_words\n",
    )
    problem = problem_of(load(), "other-api")
    assert group in problem
    assert ENTRY_POINT_GROUP in problem
    assert "other_words" not in sys.modules


def test_a_distribution_may_serve_two_apis_under_one_name(site, load):
    install(
        site,
        "both",
        {"both_v1": plugin("both"), "both_v2": "raise AssertionError('imported')"},
        "[guardcore.v2]\nwords = both_v2\n[guardcore.v1]\nwords = both_v1\n",
    )
    host = load()
    assert host.problems == []
    assert strangers(host) == ["both:both", "sound:sound"]


def test_the_same_entry_point_name_in_two_distributions_loads_both(site):
    install(site, "first", {"first_words": plugin("one")}, {"words": "first_words"})
    install(site, "second", {"second_words": plugin("two")}, {"words": "second_words"})
    host = PluginHost.discover()
    assert host.problems == []
    assert strangers(host) == ["first:one", "second:two"]


def test_one_module_named_by_two_distributions_is_not_dropped_in_silence(site):
    install(site, "first", {"shared_words": plugin("one")}, {"words": "shared_words"})
    install(site, "second", {}, {"words": "shared_words"})
    host = PluginHost.discover()
    (problem,) = host.problems
    (loaded,) = strangers(host)
    assert {problem.origin.distribution, loaded.partition(":")[0]} == {"first", "second"}
    assert problem.reason == f"shared_words is loaded already, as {loaded.partition(':')[0]}/words"


def test_of_a_distribution_found_twice_the_first_on_the_path_counts(tmp_path, site, monkeypatch):
    install(site, "twice", {"twice_words_old": plugin("old")}, version="1.0")
    newer = tmp_path / "newer"
    install(newer, "twice", {"twice_words_new": plugin("new")}, version="2.0")
    monkeypatch.syspath_prepend(str(newer))
    host = PluginHost.discover()
    assert host.problems == []
    assert strangers(host) == ["twice:new"]


@pytest.mark.parametrize("damage", ["entry_points.txt", "METADATA", "no METADATA"])
def test_a_damaged_dist_info_stops_nobody_else(site, load, damage):
    info = install(site, "damaged", {"damaged_words": plugin("word")})
    if damage == "no METADATA":
        (info / "METADATA").unlink()
    else:
        (info / damage).write_text("[guardcore.v1]\nno equals sign\n")
    host = load()
    assert "sound:sound" in strangers(host)
    (problem,) = host.problems
    assert "damaged-1.0.dist-info" in str(problem)


def test_a_claim_on_a_built_ins_name_is_recorded_and_reached_by_its_qualified_name(site, load):
    install(site, "usurper", {"usurper_words": plugin("ppo-clip", result="usurper")})
    host = load()
    problem = problem_of(host, "usurper")
    assert "'ppo-clip' is built in" in problem
    assert "'usurper:ppo-clip'" in problem
    assert host.registry.find("ratio_transform", "ppo-clip").origin.distribution == "guardcore"
    entry = host.registry.find("ratio_transform", "usurper:ppo-clip")
    assert entry.build(None) == "usurper"


def test_a_built_ins_name_under_another_kind_is_free(site, load):
    install(site, "free", {"free_words": plugin("ppo-clip", kinds="gradient_weights")})
    host = load()
    assert host.problems == []
    found = host.registry.find("gradient_weight", "ppo-clip")
    assert found.origin.distribution == "free"


def test_a_name_that_two_strangers_claim_is_an_error_at_use_and_lists_both(site):
    for name in ("first", "second"):
        install(site, name, {f"{name}_words": plugin("taken", result=name)})
    host = PluginHost.discover()
    assert host.problems == []
    with pytest.raises(GuardcoreError, match="first:taken or second:taken"):
        host.registry.find("ratio_transform", "taken")
    assert host.registry.find("ratio_transform", "second:taken").build(None) == "second"


NO_OPTIONS = {
    "no annotation": ("def word(options): ...", "annotate its argument"),
    "another annotation": ("def word(options: dict): ...", "annotate its argument"),
    "an unknown annotation": ("def word(options: 'Nowhere'): ...", "annotate its argument"),
    "no argument": ("def word(): ...", "exactly one argument"),
    "two arguments": ("def word(options: Options, more: int): ...", "exactly one argument"),
    "not callable": ("word = 3", "no function or class"),
    "options that are not frozen": (
        "class Loose(Options, frozen=False): ...\ndef word(options: Loose): ...",
        "frozen",
    ),
    "options that take anything": (
        "class Loose(Options, extra='ignore'): ...\ndef word(options: Loose): ...",
        "refuse unknown keys",
    ),
    "a reserved field": (
        "class Mine(Options):\n    weight: float = 1.0\ndef word(options: Mine): ...",
        "'weight' is a reserved field name",
    ),
}


@pytest.mark.parametrize("case", NO_OPTIONS)
def test_a_factory_without_proper_options_is_recorded(site, load, case):
    definition, reason = NO_OPTIONS[case]
    source = f"""
from guardcore import Options, hookimpl
{definition}
@hookimpl
def guardcore_register_ratio_transforms(register):
    register("word", word)
"""
    install(site, "careless", {"careless_words": source})
    host = load()
    assert reason in problem_of(host, "careless")
    assert "careless:word" not in strangers(host)


SOUND_FACTORIES = {
    "postponed": "from __future__ import annotations\n{imports}\ndef word(options: Mine): ...",
    "quoted": "{imports}\ndef word(options: 'Mine'): ...",
    "dotted": "from __future__ import annotations\nimport guardcore\n{imports}\n"
    "def word(options: guardcore.Options): ...",
    "class": "from __future__ import annotations\n{imports}\n"
    "class word:\n    def __init__(self, options: Mine): ...",
    "with a return": "from __future__ import annotations\n{imports}\n"
    "def word(options: Mine) -> 'OnlyForTypeCheckers': ...",
}


@pytest.mark.parametrize("case", SOUND_FACTORIES)
def test_a_factory_may_be_written_as_python_allows(site, case):
    imports = "from guardcore import Options, hookimpl\nclass Mine(Options): ..."
    source = SOUND_FACTORIES[case].replace("{imports}", imports)
    source += (
        "\n@hookimpl\ndef guardcore_register_ratio_transforms(register):\n"
        "    register('word', word)\n"
    )
    install(site, "sound", {"sound_words": source})
    host = PluginHost.discover()
    assert host.problems == []
    assert strangers(host) == ["sound:word"]


@pytest.mark.parametrize(
    "name", ["Word", "my_word", "-word", "word-", "my--word", "my word", "a:b", "", "wörd", 3, None]
)
def test_a_name_that_is_not_kebab_case_is_recorded_and_nothing_of_the_plugin_stays(
    site, load, name
):
    source = f"""
        from guardcore import Options, hookimpl
        def word(options: Options): ...
        @hookimpl
        def guardcore_register_ratio_transforms(register):
            register("fine", word)
            register({name!r}, word)
    """
    install(site, "shouting", {"shouting_words": dedent(source)})
    host = load()
    assert "cannot register" in problem_of(host, "shouting")
    assert strangers(host) == ["sound:sound"]


def test_a_name_registered_twice_is_recorded(site, load):
    source = plugin("word") + '    register("word", word)\n'
    install(site, "twice", {"twice_words": source})
    assert "registered twice" in problem_of(load(), "twice")


def test_a_name_registered_by_two_plugins_of_one_distribution_is_recorded(site, load):
    install(site, "twice", {"one_words": plugin("word"), "two_words": plugin("word")})
    host = load()
    assert "registered twice" in problem_of(host, "twice")
    assert "twice:word" in strangers(host)


@pytest.mark.parametrize("error", ["RuntimeError", "SystemExit"])
def test_a_hook_that_raises_is_recorded_and_nothing_of_it_stays(site, load, error):
    source = plugin("word") + f"    raise {error}('half way')\n"
    install(site, "halting", {"halting_words": source})
    host = load()
    assert f"{error}: half way" in problem_of(host, "halting")
    assert "halting:word" not in strangers(host)


def test_a_strategy_with_a_word_that_names_nothing_is_recorded_on_one_line(site, load):
    source = """
        from guardcore import Strategy, hookimpl
        @hookimpl
        def guardcore_register_strategies(register):
            register("mine", Strategy(ratio=[{"low": 1e-4}]))
    """
    install(site, "nameless", {"nameless_words": source})
    assert "use" in problem_of(load(), "nameless")


@pytest.mark.parametrize(
    ("kinds", "thing"), [("strategies", "word"), ("ratio_transforms", "Strategy(ratio=[])")]
)
def test_a_strategy_is_data_and_everything_else_a_factory(site, load, kinds, thing):
    source = f"""
        from guardcore import Options, Strategy, hookimpl
        def word(options: Options): ...
        @hookimpl
        def guardcore_register_{kinds}(register):
            register("mine", {thing})
    """
    install(site, "confused", {"confused_words": source})
    assert "'mine': received a" in problem_of(load(), "confused")


def test_two_hosts_share_nothing(site):
    before = PluginHost.discover()
    install(site, "late", {"late_words": plugin("late")})
    assert "late:late" in strangers(PluginHost.discover())
    assert "late:late" not in strangers(before)


def test_a_plugin_that_is_a_class_instance_may_be_added_by_hand():
    from guardcore import Options, hookimpl

    def word(options: Options) -> str:
        return "by hand"

    class Plugin:
        @hookimpl
        def guardcore_register_ratio_transforms(self, register):
            register("by-hand", word)

    host = PluginHost()
    host.add(Plugin(), Origin("test", "1", "test", "test"))
    assert host.problems == []
    assert host.registry.find("ratio_transform", "by-hand").build(Options()) == "by hand"
