"""Where a component is, and who made it."""

import functools
import inspect

import pytest

from guardcore import Options
from guardcore.inspection import about_distribution, inspected, source
from guardcore.plugins import PluginHost
from guardcore.registry import Origin, Registered
from stranger import install, plugin

HERE = Origin("test", "1", "test", __name__)


def word(options: Options):
    """A word."""


class Word:
    def __init__(self, options: Options): ...


class Caller:
    def __call__(self, options: Options): ...


@functools.wraps(word)
def wrapped(options: Options): ...


def scaled(scale: float, options: Options): ...


@pytest.mark.parametrize(
    ("factory", "defined"),
    [
        (word, word),
        (Word, Word),
        (Caller(), Caller),
        (wrapped, word),
        (functools.partial(scaled, 2.0), scaled),
    ],
)
def test_a_factory_is_found_in_its_file(factory, defined):
    file, line = source(Registered("reward", "word", HERE, factory))
    assert file == __file__
    assert line == inspect.getsourcelines(defined)[1]


def test_a_factory_without_source_is_nowhere():
    made = eval("lambda options: None")
    assert source(Registered("reward", "word", HERE, made)) == (None, None)


def test_a_component_is_described_by_its_distribution(site):
    about = "Summary: Words for all.\nProject-URL: Homepage, https://words.example\n"
    install(site, "wordy", {"wordy_words": plugin("wordy")}, metadata=about)
    registry = PluginHost.discover().registry
    found = inspected(registry.find("ratio_transform", "wordy"), registry)
    assert found.qualified == "wordy:wordy"
    assert found.docstring == "A stranger's word."
    assert (found.summary, found.homepage) == ("Words for all.", "https://words.example")
    assert (found.file, found.line) == (str(site / "wordy_words.py"), 4)


def test_a_strategy_is_found_in_its_plugins_file_and_spelled_out():
    registry = PluginHost.discover().registry
    found = inspected(registry.find("strategy", "guard"), registry)
    assert found.file.endswith("strategies.py")
    assert found.line is None
    assert "GRPO-Guard" in found.docstring
    assert "- use: inverse-dt" in found.spelled_out


@pytest.mark.parametrize(
    ("links", "homepage"),
    [
        ("", ""),
        ("Home-page: https://old.example", "https://old.example"),
        ("Project-URL: Home Page, https://a.example", "https://a.example"),
        ("Project-URL: Issues, https://i.example", ""),
        (
            "Project-URL: Source Code, https://s.example\nProject-URL: Repository, https://r.example",
            "https://r.example",
        ),
        ("Project-URL: no comma", ""),
    ],
)
def test_a_homepage_is_the_best_link_that_there_is(site, links, homepage):
    install(site, "linked", {}, "", metadata=f"{links}\n" if links else "")
    assert about_distribution("linked") == ("", homepage)


def test_what_was_added_by_hand_has_neither_summary_nor_homepage():
    assert about_distribution("installed-nowhere") == ("", "")
