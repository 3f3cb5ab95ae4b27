"""The rule for rendered text by reference vectors and laws; RapidOCR on drawn words."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from guardcore import GuardcoreError, Prompt
from guardcore_plugins.rewards.ocr import (
    OcrOptions,
    RapidReader,
    TextRendering,
    ocr,
    score_target,
    score_text,
    target,
)

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


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    with pytest.raises(GuardcoreError, match=r"pip install 'guardcore\[ocr\]'"):
        ocr(OcrOptions())


# RapidOCR


def drawn(text, side=64, ink=(20, 20, 90), paper=(235, 235, 225)):
    image = Image.new("RGB", (side, side), paper)
    font = ImageFont.load_default(side * 0.4)
    ImageDraw.Draw(image).text((side / 2, side / 2), text, fill=ink, font=font, anchor="mm")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


@pytest.fixture(scope="module", params=[True, False], ids=["lines", "one line"])
def reader(request):
    pytest.importorskip("rapidocr_onnxruntime")
    return RapidReader(OcrOptions(detection=request.param))


NUMBERS = ["407", "9", "8231", "55"]


@pytest.mark.parametrize("side", [64, 160])
def test_drawn_digits_are_read(reader, side):
    assert reader(torch.stack([drawn(number, side) for number in NUMBERS])) == NUMBERS


def test_light_digits_on_dark_are_read(reader):
    assert reader(drawn("407", ink=(250, 240, 60), paper=(10, 40, 10))[None]) == ["407"]


def test_blank_and_noise_hold_no_text(reader):
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert reader(torch.cat([torch.full((1, 3, 64, 64), 0.5), noise])) == ["", ""]


def test_tiny_and_oblong_images_are_read_without_error(reader):
    for shape in [(1, 3, 1, 1), (1, 3, 8, 200), (1, 3, 200, 8)]:
        assert reader(torch.full(shape, 0.2)) == [""]


def test_a_text_does_not_depend_on_its_batch(reader):
    images = torch.stack([drawn(number) + 0.1 * torch.rand(3, 64, 64) for number in NUMBERS])
    assert reader(images) == [reader(image[None])[0] for image in images]


@pytest.mark.parametrize("detection", [True, False])
def test_texts_and_their_order_do_not_depend_on_the_number_of_workers(detection):
    pytest.importorskip("rapidocr_onnxruntime")
    images = torch.stack([drawn(str(number)) for number in (7, 4075, 31, 860, 22222, 9)])
    alone, three = (
        RapidReader(OcrOptions(detection=detection, workers=workers, threads=1))(images)
        for workers in (1, 3)
    )
    assert three == alone
    assert len(set(alone)) == 6


def test_a_reader_that_fails_lends_its_engine_again():
    pytest.importorskip("rapidocr_onnxruntime")
    reader = RapidReader(OcrOptions(threads=1))
    with pytest.raises(Exception, match="NoneType"):
        reader._read(None)
    assert reader(drawn("407")[None]) == ["407"]  # one worker: it would wait for ever


def test_the_reward_reads_and_scores():
    pytest.importorskip("rapidocr_onnxruntime")
    reward = ocr(OcrOptions(detection=False, threads=1))
    scores = reward(torch.stack([drawn("407"), drawn("407")]), PROMPTS)
    assert scores.tolist() == [1, 0]
