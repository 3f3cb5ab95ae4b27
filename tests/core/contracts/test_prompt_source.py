"""Each law of a source of prompts, and a source that breaks it."""

import random

import pytest

from guardcore import Prompt
from guardcore.testing import check_component, check_prompt_source
from laws import broken


class Source:
    """A sequence by its two methods alone."""

    def __init__(self, prompts):
        self.prompts = prompts

    def __len__(self):
        return len(self.prompts)

    def __getitem__(self, place):
        return self.prompts[place]


class Drawing(Source):
    def __getitem__(self, place):
        if place >= len(self):
            raise IndexError(place)
        return random.choice(self.prompts)


class Endless(Source):
    def __getitem__(self, place):
        return self.prompts[place % len(self)]


class Consuming(Source):
    def __getitem__(self, place):
        prompt = self.prompts[place]
        prompt.metadata["seen"] = prompt.metadata.get("seen", 0) + 1
        return Prompt(prompt.text, dict(prompt.metadata))


MANY = [Prompt("w" * n, {"tag": "x"}) for n in range(1, 30)]
BROKEN = [
    (Source([]), "not-empty", "holds no prompt"),
    (Source(["a cat"]), "prompts", "expected a guardcore.Prompt, received a str"),
    (Source([*MANY[:7], Prompt(7)]), "prompts", "expected a text, received a int"),
    (Source([Prompt("a", ["tag"])]), "prompts", "expected a mapping"),
    (Source([Prompt("a", {1: "tag"})]), "prompts", "words as the metadata's keys, received 1"),
    (Drawing(MANY), "stable", "it is"),
    (Consuming(MANY), "stable", "metadata has changed"),
    (Endless(MANY), "end", "expected an IndexError at place 29"),
    (iter([Prompt("a")]), "methods", "has no method __len__, __getitem__"),
]


@pytest.mark.parametrize(("source", "law", "reason"), BROKEN)
def test_a_source_that_breaks_one_law_is_told_which(source, law, reason):
    error = broken(check_prompt_source, source)
    assert error.law == law
    assert reason in error.reason


def test_the_wrong_prompt_is_named_by_its_place():
    assert broken(check_prompt_source, Source([*MANY[:7], Prompt(7)])).case == "7"


@pytest.mark.parametrize("prompts", [MANY, MANY[:1], tuple(MANY), Source(MANY)])
def test_a_sound_source_passes(prompts):
    check_prompt_source(prompts)


def test_our_own_sources_pass(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text('{"prompt": "a cat", "tag": "single_object"}\n')
    check_component("prompt_source", "text", path=path)
    check_component("prompt_source", "jsonl", path=path)
    for task in ("all", ("digits", "counting")):
        check_component("prompt_source", "tiny-world", task=task)
