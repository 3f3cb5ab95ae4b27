"""The rule for rendered text by reference vectors and laws, over any reader."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guardcore import GuardcoreError, Prompt
from guardcore_plugins.rewards.ocr import TextRendering, score_target, score_text, target

PARITY = json.loads((Path(__file__).parents[2] / "parity" / "ocr.json").read_text())


@pytest.mark.parametrize("case", PARITY, ids=range(len(PARITY)))
def test_the_published_scores_are_reproduced(case):
    score = score_text(case["recognised"], case["prompt"])
    assert score == pytest.approx(case["reward"], rel=0, abs=1e-12)


@pytest.mark.parametrize(
    ("recognised", "quoted", "score"),
    [
        ("kitten", "sitting", 1 - 3 / 7),
        ("", "abc", 0),
        ("xyz", "abc", 0),
        ("a very long line of other words", "abc", 0),  # at most the target's length
        ("STRASSE", "Straße", 1 - 2 / 6),  # lower-cased, not case-folded
        ("cafe\u0301", "café", 1 - 2 / 4),  # code points, not normalised
        ("a\tb", "a b", 1 - 1 / 2),  # only U+0020 is dropped
        ("a\u00a0b", "a b", 1 - 1 / 2),
        ("日本", "日本語", 1 - 1 / 3),
        ("i\u0307", "İ", 1),  # lower() turns İ into two characters
        ("ba", "ab", 0),  # a swap is two edits
    ],
)
def test_scores_known_by_hand(recognised, quoted, score):
    assert score_text(recognised, f'a sign that says "{quoted}"') == pytest.approx(score, abs=1e-12)


WORDS = st.text(alphabet="abc ", min_size=1, max_size=8).filter(str.strip)


@given(WORDS, st.text(alphabet="abc ", max_size=12))
def test_scores_lie_between_zero_and_one_and_spaces_and_case_do_not_matter(word, recognised):
    score = score_text(recognised, f'"{word}"')
    assert 0 <= score <= 1
    assert score == score_text(recognised.replace(" ", "").upper(), f'"{word.upper()}"')


@given(WORDS, st.text(alphabet="abc", max_size=4), st.text(alphabet="abc", max_size=4))
def test_a_target_that_is_contained_scores_one(word, before, after):
    assert score_text(before + word + after, f'"{word}"') == 1


@given(st.text(alphabet="abcd", min_size=2, max_size=9), st.integers(0, 8))
def test_one_wrong_letter_costs_one_letter(word, index):
    index %= len(word)
    wrong = word[:index] + "#" + word[index + 1 :]
    assert score_text(wrong, f'"{word}"') == 1 - 1 / len(word)


def test_the_target_is_the_first_quoted_text():
    assert target('a "Big" sign and a "small" one') == "Big"
    assert target('"4"07') == "4"


@pytest.mark.parametrize("prompt", ["a cat", "", 'a "cat', 'a ""', 'a "  "', "a “cat”"])
def test_a_prompt_that_quotes_nothing_is_named(prompt):
    with pytest.raises(GuardcoreError) as caught:
        score_text("cat", prompt)
    assert repr(prompt) in str(caught.value)
    assert isinstance(caught.value, ValueError)


# The reward over any reader

GREY = torch.full((2, 3, 8, 8), 0.5)
PROMPTS = [Prompt('the number "407"'), Prompt('the number "12"')]


def test_each_image_is_scored_against_its_own_prompt():
    reward = TextRendering(lambda images: ["407", "407"])
    scores = reward(GREY, PROMPTS)
    assert (scores.dtype, scores.tolist()) == (torch.float32, [1, 0])
    reward.close()


def test_prompts_are_checked_before_anything_is_read():
    def reader(images):
        raise AssertionError("read before the prompts were checked")

    with pytest.raises(GuardcoreError, match="'a cat'"):
        TextRendering(reader)(GREY, [PROMPTS[0], Prompt("a cat")])


def test_the_text_to_draw_may_stand_in_the_metadata():
    prompts = [Prompt("a sign", {"text": "Open"}), Prompt('a "quoted" sign', {"text": "Closed"})]
    reward = TextRendering(lambda images: ["OPEN", "quoted"], metadata_key="text")
    assert reward(GREY, prompts).tolist() == pytest.approx([1, score_target("quoted", "Closed")])
    assert score_target("open", "Open") == score_text("open", '"Open"') == 1


@pytest.mark.parametrize("metadata", [{}, {"text": None}, {"text": 407}, {"text": " "}])
def test_a_prompt_without_its_metadata_is_named_with_the_key(metadata):
    reward = TextRendering(lambda images: ["", ""], metadata_key="text")
    with pytest.raises(GuardcoreError, match=r"'a \"quoted\" sign'.*'text'"):
        reward(GREY, [Prompt('a "quoted" sign', metadata)] * 2)
