"""What ``inspect`` offers for pasting names the component, with every option at its default."""

import shlex

import pytest
import yaml

from guardcore.binding import bind
from guardcore.layers import Overrides, parse_config
from guardcore.plugins import PluginHost
from guardcore.snippets import command_line, config_block, name_in_config, spelled_out
from guardcore_cli.loading import embedded_profile
from stranger import install, plugin

REGISTRY = PluginHost.discover().registry
BUILT_INS = [entry for entry in REGISTRY if entry.origin.distribution == "guardcore"]
every_built_in = pytest.mark.parametrize(
    "entry", BUILT_INS, ids=[f"{entry.kind} {entry.name}" for entry in BUILT_INS]
)


@pytest.fixture
def filled(tmp_path):
    """Fill in what a snippet leaves to its reader."""
    prompts = tmp_path / "prompts"
    prompts.write_text('"words"')
    blanks = {"<path>": str(prompts), "<urls>": "http://127.0.0.1:8000"}
    blanks |= {"<size>": "1", "<steps>": "[0]"}

    def fill(text):
        blanks["<model>"] = "tiny-flux" if "flux" in text else "tiny-sd3"
        for blank, word in blanks.items():
            text = text.replace(blank, word)
        return text

    return fill


def bound(tree, entry):
    """The component of the entry's kind in a config, and the binding it stands in."""
    binding = bind(parse_config(tree), REGISTRY)
    places = {
        "prompt_source": [binding.train_prompts],
        "reward": list(binding.rewards.values()),
        "penalty": list(binding.penalties.values()),
        "ratio_transform": list(binding.ratio),
        "gradient_weight": list(binding.gradient_weight),
        "tracker": list(binding.trackers),
        "strategy": [],
    }
    return places.get(entry.kind) or [getattr(binding, entry.kind)], binding


def check(tree, entry):
    """The config holds the entry, and nothing else of its kind, at its defaults."""
    components, binding = bound(tree, entry)
    if entry.kind == "strategy":
        assert binding.strategy == entry.qualified
        return
    (component,) = components
    assert component.entry == entry
    required = {n for n, field in entry.options.model_fields.items() if field.is_required()}
    given = {n: v for n, v in component.options.model_dump().items() if n in required}
    assert component.options == entry.options(**given)


@every_built_in
def test_a_built_ins_block_can_be_pasted_into_a_config(entry, filled):
    block = yaml.safe_load(filled(config_block(entry, REGISTRY)))
    profile = embedded_profile() | {"strategy_options": {}}
    if entry.kind == "prompt_source":
        block["prompts"]["eval"] = profile["prompts"]["eval"]
    check(profile | block, entry)


@every_built_in
def test_a_built_ins_command_line_names_it(entry, filled):
    flag, text = shlex.split(filled(command_line(entry, REGISTRY)))
    name = {"--set": "assignments"}.get(flag, flag.removeprefix("--").replace("-", "_"))
    value = text if name in ("strategy", "backbone", "sampler") else [text]
    check(Overrides(**{name: value}).over(embedded_profile()), entry)


@pytest.mark.parametrize("entry", REGISTRY.of_kind("strategy"), ids=lambda entry: entry.name)
def test_a_strategy_spelled_out_is_the_strategy(entry):
    profile = embedded_profile() | {"strategy_options": {}, "strategy": None}
    words = yaml.safe_load(spelled_out(entry.factory, REGISTRY))
    by_name = bind(parse_config(profile | {"strategy": entry.name}), REGISTRY)
    in_words = bind(parse_config(profile | words), REGISTRY)
    for part in ("ratio", "gradient_weight"):
        specs = [[b.spec() for b in getattr(b2, part)] for b2 in (by_name, in_words)]
        assert specs[0] == specs[1]


def test_every_option_of_a_block_is_spelled_out():
    entry = REGISTRY.find("backbone", "sd3")
    block = yaml.safe_load(config_block(entry, REGISTRY))["backbone"]
    assert set(block) == {"use", *entry.options.model_fields}
    assert block["lora"]["rank"] == 32


def test_the_qualified_name_is_written_where_the_short_one_is_not_enough(site):
    for name in ("first", "second"):
        install(site, name, {f"{name}_words": plugin("taken")})
    install(site, "usurper", {"usurper_words": plugin("ppo-clip")})
    install(site, "free", {"free_words": plugin("free")})
    registry = PluginHost.discover().registry
    names = {
        entry.qualified: name_in_config(entry, registry)
        for entry in registry.of_kind("ratio_transform")
    }
    assert names["second:taken"] == "second:taken"
    assert names["usurper:ppo-clip"] == "usurper:ppo-clip"
    assert names["guardcore:ppo-clip"] == "ppo-clip"
    assert names["free:free"] == "free"
