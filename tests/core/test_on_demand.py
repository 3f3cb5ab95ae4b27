"""A run imports the built-ins and whom its names mention: found out from metadata alone."""

import pytest

from guardcore import GuardcoreError, create
from guardcore.binding import bind
from guardcore.bound import resolved
from guardcore.errors import ConfigError
from guardcore.layers import assign, parse_config
from guardcore.permission import ALLOW_LIST, LEFT_OUT
from guardcore.plugins import PluginHost, installed
from guardcore_cli.loading import embedded_profile
from stranger import IMPORTED, imported, install, plugin

STRATEGY = """
    from guardcore import Strategy, hookimpl
    @hookimpl
    def guardcore_register_strategies(register):
        register("sentence", Strategy(ratio=["asked:asked"]))
"""


@pytest.fixture
def spies(site):
    """Four installed strangers of which each leaves a mark when it is imported."""

    def stranger(name, source, module=None):
        install(site, name, {module or f"{name}_words": IMPORTED + source})

    def of_kind(kinds):
        stranger("asked", plugin("asked", kinds=kinds))
        stranger("other", plugin("other", kinds=kinds))
        stranger("sentences", STRATEGY.replace("\n    ", "\n"))
        return site

    return of_kind


def bound(*assignments):
    tree = embedded_profile()
    for assignment in assignments:
        tree = assign(tree, assignment)
    config = parse_config(tree)
    host = PluginHost.on_demand()
    return config, bind(config, host.registry), host


def test_a_config_of_built_ins_imports_nobody_else(spies):
    site = spies("ratio_transforms")
    bound()
    assert imported(site) == set()


@pytest.mark.parametrize(
    ("kinds", "assignment"),
    [
        ("backbones", "backbone={use: asked:asked}"),
        ("samplers", "sampler=asked:asked"),
        ("samplers", "evaluate.sampler=asked:asked"),
        ("windows", "rollout.train_steps={use: asked:asked}"),
        ("ratio_transforms", "ratio=[ratio-norm, asked:asked]"),
        ("gradient_weights", "gradient_weight=[asked:asked]"),
        ("penalties", "penalty=[{use: asked:asked, weight: 0.1}]"),
        ("advantages", "advantage=asked:asked"),
        ("rewards", "reward=[{use: asked:asked}]"),
        ("rewards", "reward_options={asked:asked: {}}"),
        ("prompt_sources", "prompts.train=asked:asked"),
        ("prompt_sources", "prompts.eval=asked:asked"),
        ("trackers", "tracker=[console, asked:asked]"),
        ("trackers", "plugins=[asked]"),
    ],
)
def test_a_qualified_name_imports_its_distribution_and_no_other(spies, kinds, assignment):
    site = spies(kinds)
    _, binding, _ = bound(assignment)
    assert imported(site) == {"asked_words"}
    assert ("asked" in binding.distributions()) is not assignment.startswith("reward_options")


@pytest.mark.parametrize(
    "assignment", ["strategy=sentences:sentence", "strategy_options={sentences:sentence: {}}"]
)
def test_a_strategy_is_imported_where_it_is_named(spies, assignment):
    site = spies("ratio_transforms")
    bound(assignment, "ratio=[]", "gradient_weight=[]")
    assert imported(site) == {"sentences_words"}


def test_a_word_inside_a_strangers_strategy_imports_its_own_distribution(spies):
    site = spies("ratio_transforms")
    _, binding, _ = bound("strategy=sentences:sentence", "strategy_options={}")
    assert imported(site) == {"sentences_words", "asked_words"}
    assert binding.distributions() == {"guardcore", "sentences", "asked"}


def test_a_short_name_that_is_no_built_ins_imports_the_rest(spies):
    site = spies("ratio_transforms")
    config, binding, host = bound("ratio=[asked]")
    assert imported(site) == {"asked_words", "other_words", "sentences_words"}
    assert binding.distributions() == {"guardcore", "asked"}
    assert host.complete
    assert resolved(config, binding)["ratio"] == [{"use": "asked:asked"}]  # which needs no other


def test_a_built_ins_name_that_a_stranger_claims_does_not_import_him(site):
    install(site, "usurper", {"usurper_words": IMPORTED + plugin("ppo-clip")})
    assert bound("ratio=[ppo-clip]")[1].ratio[0].entry.qualified == "guardcore:ppo-clip"
    assert imported(site) == set()


def test_create_imports_whom_the_name_mentions(spies):
    site = spies("ratio_transforms")
    create("ratio_transform", "ratio-norm")
    assert imported(site) == set()
    create("ratio_transform", "asked:asked")
    assert imported(site) == {"asked_words"}
    create("ratio_transform", "other")
    assert imported(site) == {"other_words", "sentences_words"}


def test_looking_through_all_components_imports_everybody(spies):
    site = spies("ratio_transforms")
    assert "other:other" in {entry.qualified for entry in PluginHost.on_demand().registry}
    assert imported(site) == {"asked_words", "other_words", "sentences_words"}


def test_a_scan_imports_not_even_the_built_ins(spies):
    site = spies("ratio_transforms")
    host = PluginHost.scan()
    names = [origin.key for origin in host.offers.origins()]
    assert names[-3:] == ["asked/asked-words", "other/other-words", "sentences/sentences-words"]
    assert names[0].startswith("guardcore/")
    assert host.plugins == host.registry.registered() == []
    assert imported(site) == set()


def test_a_reserved_name_is_reported_once_in_whatever_order_plugins_are_asked_for(site):
    install(site, "usurper", {"usurper_words": plugin("ppo-clip")})
    host = PluginHost.scan()
    for _ in range(2):
        host.registry.find("ratio_transform", "usurper:ppo-clip")
        list(host.registry)
    assert [problem.check for problem in host.problems] == ["reserved-name"]


def observing(name):
    return IMPORTED + (
        "from guardcore import hookimpl\n"
        "@hookimpl\n"
        "def guardcore_alarm_raised(run):\n"
        f"    run.append({name!r})\n"
    )


@pytest.mark.parametrize(
    ("assignments", "told"),
    [
        ([], []),
        (["plugins=[Watching]"], ["watching"]),
        (["ratio=[word]"], []),  # imports both, uses neither's plugin
        (["ratio=[word]", "plugins=[also_watching]"], ["also-watching"]),
    ],
)
def test_observers_are_told_whom_the_run_uses_or_asks_for(site, assignments, told):
    install(site, "watching", {"watching_runs": observing("watching")})
    install(site, "also-watching", {"also_watching_runs": observing("also-watching")})
    install(site, "word", {"word_words": plugin("word")})
    config, binding, host = bound(*assignments)
    run = []
    only = host.observers(binding.distributions())
    only._by_hook["guardcore_alarm_raised"] = [  # the built-in one reads a real alarm
        found
        for found in only._by_hook["guardcore_alarm_raised"]
        if found.origin.distribution != "guardcore"
    ]
    only.tell("guardcore_alarm_raised", run=run, iteration=1, alarm=None)
    assert run == told
    assert resolved(config, binding)["plugins"] == list(binding.plugins)


def reasons(*assignments):
    with pytest.raises(ConfigError) as caught:
        bound(*assignments)
    return list(caught.value.problems)


def test_what_plugins_asks_for_must_be_there_and_load(site):
    install(site, "watching", {"watching_runs": observing("watching")})
    install(site, "broken", {"broken_runs": "import no_such_module"})
    unknown, broken = reasons("plugins=[watching, wacthing, broken]")
    assert unknown == (
        "plugins.1: no distribution 'wacthing' with plugins is installed; did you mean 'watching'?"
    )
    assert broken.startswith("plugins.2: broken/broken-runs (version 1.0, broken_runs): cannot be")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("asked:aksed", "; did you mean 'asked:asked'?"),
        ("aksed:asked", "; did you mean 'asked:asked'?"),
        ("elsewhere:x", "; no distribution 'elsewhere' with plugins is installed"),
        ("broken:x", "; broken/broken-words (version 1.0, broken_words): cannot be imported"),
    ],
)
def test_a_qualified_name_that_is_not_there_says_why(site, name, hint):
    install(site, "asked", {"asked_words": plugin("asked")})
    install(site, "broken", {"broken_words": "import no_such_module"})
    host = PluginHost.on_demand()
    host.provide("asked")
    with pytest.raises(GuardcoreError) as caught:
        host.registry.find("ratio_transform", name)
    assert f"no ratio_transform is called {name!r}{hint}" in str(caught.value)


BLOCKED = {
    "the allow-list": (ALLOW_LIST, "guardcore-somebody"),
    "an empty allow-list": (ALLOW_LIST, ""),
    "--without": (LEFT_OUT, "Asked,other"),
}


@pytest.mark.parametrize("case", BLOCKED)
def test_nothing_of_a_blocked_distribution_is_imported(spies, monkeypatch, case):
    site = spies("ratio_transforms")
    name, value = BLOCKED[case]
    monkeypatch.setenv(name, value)
    host = PluginHost.discover()
    assert imported(site) & {"asked_words", "other_words"} == set()
    assert {p.origin.distribution for p in host.blocked()} >= {"asked", "other"}
    (reason,) = reasons("ratio=[asked:asked]")
    by = "--without" if name == LEFT_OUT else ALLOW_LIST
    assert f"'asked:asked'; asked is blocked by {by}: " in reason
    (reason,) = reasons("ratio=[asked]")
    assert f"; not imported: asked (blocked by {by}), other (blocked by {by})" in reason
    (reason,) = reasons("plugins=[asked]")
    assert reason.startswith(f"plugins.0: asked is blocked by {by}: ")
    with pytest.raises(GuardcoreError, match="blocked by"):
        create("ratio_transform", "asked:asked")
    assert imported(site) & {"asked_words", "other_words"} == set()


def test_who_is_on_the_allow_list_is_imported(spies, monkeypatch):
    site = spies("ratio_transforms")
    monkeypatch.setenv(ALLOW_LIST, "nobody-here, Asked")
    assert "asked" in [entry.name for entry in PluginHost.discover().registry]
    assert imported(site) == {"asked_words"}
    monkeypatch.setenv(LEFT_OUT, "asked")  # the narrower of the two
    assert "asked" not in [entry.name for entry in PluginHost.discover().registry]


def test_what_is_installed_is_looked_at_anew_when_the_permission_changes(spies, monkeypatch):
    spies("ratio_transforms")
    assert installed().find("ratio_transform", "asked:asked")
    monkeypatch.setenv(ALLOW_LIST, "")
    with pytest.raises(GuardcoreError, match="blocked by GUARDCORE_PLUGINS"):
        installed().find("ratio_transform", "asked:asked")


def test_a_claim_of_somebody_blocked_is_no_clash(site, monkeypatch):
    for name in ("first", "second"):
        install(site, name, {f"{name}_words": plugin("taken", result=name)})
    monkeypatch.setenv(LEFT_OUT, "first")
    assert create("ratio_transform", "taken") == "second"
