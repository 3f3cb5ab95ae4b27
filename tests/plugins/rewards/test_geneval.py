"""GenEval's rule: reference vectors, hand-made pictures of each tag, laws, and bad metadata."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guardcore import GuardcoreError, Prompt
from guardcore_plugins.rewards.geneval import Detection, GenEval, GenEvalOptions, geneval, judge

PARITY = json.loads((Path(__file__).parents[2] / "parity" / "geneval.json").read_text())
DIRECTIONS = ["left of", "right of", "above", "below"]


def at(label, x, y, *, size=10.0, score=0.95, color=None):
    half = size / 2
    return Detection(label, (x - half, y - half, x + half, y + half), score, color)


def task(*include, tag="two_object", exclude=None):
    metadata = {"tag": tag, "include": list(include)}
    return metadata if exclude is None else metadata | {"exclude": exclude}


def want(label, count=1, **more):
    return {"class": label, "count": count, **more}


@pytest.mark.parametrize("case", PARITY, ids=range(len(PARITY)))
def test_the_authors_decisions_are_reproduced(case):
    detections = [Detection(**detection) for detection in case["detections"]]
    verdict = judge(case["metadata"], detections)
    assert verdict.correct is case["correct"]
    assert (verdict.partial == 1) is case["correct"]
    assert verdict.reason
    assert "\n" not in verdict.reason


# Scores and thresholds


@pytest.mark.parametrize(("tag", "edge"), [("single_object", 0.3), ("counting", 0.9)])
def test_an_object_counts_strictly_above_the_threshold_of_its_tag(tag, edge):
    metadata = task(want("cup"), tag=tag)
    assert not judge(metadata, [at("cup", 0, 0, score=edge)]).correct
    assert judge(metadata, [at("cup", 0, 0, score=edge + 1e-9)]).correct


def test_thresholds_are_options():
    metadata, cup = task(want("cup"), tag="single_object"), [at("cup", 0, 0, score=0.5)]
    assert not judge(metadata, cup, threshold=0.5).correct
    assert judge(task(want("cup"), tag="counting"), cup, counting_threshold=0.4).correct


def test_a_score_that_is_not_a_number_never_counts():
    assert not judge(task(want("cup")), [at("cup", 0, 0, score=float("nan"))]).correct


def test_at_most_sixteen_objects_of_a_class_count():
    cups = [at("cup", 20 * i, 0) for i in range(20)]
    assert judge(task(want("cup", 16)), cups).correct
    assert not judge(task(want("cup", 17)), cups).correct
    assert judge(task(want("cup", 17)), cups, max_objects=17).correct
    assert judge(task(exclude=[want("cup", 17)]), cups).correct


def test_the_sixteen_are_the_best():
    sure = [at("cup", 0, 0, score=0.99, color="red") for _ in range(16)]
    unsure = [at("cup", 0, 0, score=0.4, color="blue") for _ in range(16)]
    assert judge(task(want("cup", 16, color="red")), unsure + sure).correct


# Counts


def test_more_objects_than_wanted_are_fine_unless_excluded():
    cups = [at("cup", 20 * i, 0) for i in range(3)]
    assert judge(task(want("cup", 2)), cups).correct
    assert not judge(task(want("cup", 2), exclude=[want("cup", 3)]), cups).correct


def test_counting_earns_less_the_further_the_count_is_off():
    metadata = task(want("cup", 3), tag="counting", exclude=[want("cup", 4)])
    earned = [judge(metadata, [at("cup", 20 * i, 0) for i in range(n)]).partial for n in range(7)]
    assert earned == pytest.approx([0, 1 / 3, 2 / 3, 1, 4 / 5, 4 / 6, 4 / 7])


def test_one_of_two_classes_earns_half():
    verdict = judge(task(want("cup"), want("dog")), [at("dog", 0, 0)])
    assert not verdict.correct
    assert verdict.partial == 0.5
    assert verdict.reason == "wanted 1 cup, found 0"


def test_an_excluded_class_must_be_absent():
    metadata = task(want("cup"), exclude=[want("dog", 1)])
    assert judge(metadata, [at("cup", 0, 0)]).correct
    verdict = judge(metadata, [at("cup", 0, 0), at("dog", 9, 9)])
    assert (verdict.correct, verdict.partial) == (False, 0.5)
    assert verdict.reason == "wanted fewer than 1 dog, found 1"


def test_nothing_wanted_is_correct():
    assert judge(task(), []).correct


def test_two_clauses_may_share_one_object():
    assert judge(task(want("cup"), want("cup")), [at("cup", 0, 0)]).correct


# Colours


def test_only_the_best_object_is_asked_for_its_colour():
    metadata = task(want("cup", color="red"), tag="colors")
    best_red = [at("cup", 0, 0, score=0.5, color="blue"), at("cup", 0, 0, score=0.9, color="red")]
    best_blue = [at("cup", 0, 0, score=0.5, color="red"), at("cup", 0, 0, score=0.9, color="blue")]
    assert judge(metadata, best_red).correct
    verdict = judge(metadata, best_blue)
    assert (verdict.correct, verdict.partial) == (False, 0.5)
    assert verdict.reason == "wanted 1 red cup, found blue"


def test_the_right_colour_of_two_of_four_earns_half_of_the_colour():
    cups = [at("cup", 20 * i, 0, color=color) for i, color in enumerate("rrbb")]
    assert judge(task(want("cup", 4, color="r")), cups).partial == (1 + 0.5) / 2


def test_an_unknown_colour_is_no_colour():
    verdict = judge(task(want("cup", color="red")), [at("cup", 0, 0, color=lambda: None)])
    assert verdict.reason == "wanted 1 red cup, found no colour"


def test_a_colour_is_asked_once_and_only_where_a_clause_needs_it():
    asked = []

    def asking(label, name, score=0.95):
        def color():
            asked.append(name)
            return "red"

        return at(label, 0, 0, score=score, color=color)

    detections = [
        asking("cup", "best"),
        asking("cup", "second", 0.8),
        asking("cup", "unsure", 0.1),
        asking("dog", "no colour wanted"),
        asking("cat", "too few"),
    ]
    red = want("cup", color="red")
    metadata = task(red, red, want("dog"), want("cat", 2, color="red"))
    judge(metadata, detections)
    judge(metadata, detections)
    assert asked == ["best"]


# Positions


@pytest.mark.parametrize(
    ("relation", "x", "y"),
    [("left of", -50, 0), ("right of", 50, 0), ("above", 0, -50), ("below", 0, 50)],
)
def test_a_position_holds_in_its_own_direction_only(relation, x, y):
    detections = [at("cup", 0, 0), at("dog", x, y)]
    held = [
        word
        for word in DIRECTIONS
        if judge(task(want("cup"), want("dog", position=[word, 0])), detections).correct
    ]
    assert held == [relation]


def test_a_diagonal_holds_in_both_directions():
    detections = [at("cup", 0, 0, size=1), at("dog", -30, 30, size=1)]
    for relation, held in zip(DIRECTIONS, [True, False, False, True], strict=True):
        metadata = task(want("cup"), want("dog", position=[relation, 0]))
        assert judge(metadata, detections).correct is held


def test_a_share_of_exactly_a_half_is_not_enough():
    # Points without size: r = o = (4, 3) scaled, so dx = 4/5 and dy = 3/5; then dx = 1/2 exactly.
    metadata = task(want("cup"), want("dog", position=["right of", 0]))
    cup, dog = at("cup", 0, 0, size=0), at("dog", 4, 3, size=0)
    assert judge(metadata, [cup, dog]).correct
    wide = Detection("cup", (-7.5, 0, 7.5, 0), 0.95, None)  # 0.1 of its width takes 1.5 of 4
    assert not judge(metadata, [wide, dog]).correct
    narrow = Detection("cup", (-7.4, 0, 7.4, 0), 0.95, None)
    assert judge(metadata, [narrow, dog]).correct


def test_objects_in_one_place_stand_in_no_relation():
    detections = [at("cup", 5, 5), at("dog", 5, 5)]
    verdict = judge(task(want("cup"), want("dog", position=["above", 0])), detections)
    assert verdict.reason == "wanted dog above cup, found no clear relation"
    assert verdict.partial == (1 + 0.5) / 2


def test_every_object_must_stand_right_to_every_target():
    metadata = task(want("cup", 2), want("dog", 2, position=["left of", 0]))
    cups = [at("cup", 100, 0), at("cup", 200, 0)]
    assert judge(metadata, [*cups, at("dog", 0, 0), at("dog", 50, 0)]).correct
    verdict = judge(metadata, [*cups, at("dog", 0, 0), at("dog", 150, 0)])
    assert not verdict.correct
    assert verdict.partial == (1 + (1 + 3 / 4) / 2) / 2
    assert verdict.reason == "wanted dog left of cup, found right of"


def test_only_the_best_target_is_looked_at():
    metadata = task(want("cup"), want("dog", position=["left of", 0]))
    cups = [at("cup", -100, 0, score=0.5), at("cup", 100, 0, score=0.9)]
    assert judge(metadata, [*cups, at("dog", 0, 0)]).correct


def test_a_target_that_failed_fails_the_position():
    metadata = task(want("cup", color="red"), want("dog", position=["left of", 0]))
    verdict = judge(metadata, [at("cup", 100, 0, color="blue"), at("dog", 0, 0)])
    assert verdict.partial == 0.5
    assert verdict.reason == (
        "wanted 1 red cup, found blue; wanted dog left of cup, found no such cup"
    )


def test_a_wrong_colour_leaves_the_position_unread():
    clause = want("dog", color="red", position=["left of", 0])
    verdict = judge(task(want("cup"), clause), [at("cup", 100, 0), at("dog", 0, 0, color="blue")])
    assert verdict.reason == "wanted 1 red dog, found blue"
    assert verdict.partial == (1 + 1 / 3) / 2


# Laws

LABELS, COLORS = st.sampled_from("abc"), st.sampled_from(["red", "blue"])
NUMBERS = st.floats(0, 100)


@st.composite
def tasks(draw):
    include = []
    for index in range(draw(st.integers(1, 3))):
        clause = want(draw(LABELS), draw(st.integers(1, 3)))
        if draw(st.booleans()):
            clause["color"] = draw(COLORS)
        if index and draw(st.booleans()):
            target = draw(st.integers(0, index - 1))
            clause["position"] = [draw(st.sampled_from(DIRECTIONS)), target]
        include.append(clause)
    exclude = draw(st.lists(st.builds(want, LABELS, st.integers(1, 4)), max_size=2))
    return task(*include, tag=draw(st.sampled_from(["counting", "position"])), exclude=exclude)


PICTURES = st.lists(
    st.builds(at, LABELS, NUMBERS, NUMBERS, size=NUMBERS, score=st.floats(0.8, 1), color=COLORS),
    max_size=20,
    unique_by=lambda detection: detection.score,
)


@given(tasks(), PICTURES)
def test_full_credit_is_given_exactly_to_correct_pictures(metadata, detections):
    verdict = judge(metadata, detections)
    assert 0 <= verdict.partial <= 1
    assert (verdict.partial == 1) is verdict.correct


@given(tasks(), PICTURES, st.randoms())
def test_the_order_of_detections_does_not_matter(metadata, detections, random):
    shuffled = random.sample(detections, len(detections))
    assert judge(metadata, shuffled) == judge(metadata, detections)


@given(tasks(), PICTURES)
def test_other_classes_do_not_matter(metadata, detections):
    assert judge(metadata, [*detections, at("z", 0, 0, score=1)]) == judge(metadata, detections)


# Bad metadata


@pytest.mark.parametrize(
    ("metadata", "culprit"),
    [
        ({}, "'tag'"),
        ({"tag": 3, "include": []}, "'tag' must be a string"),
        ({"tag": "colors"}, "'include'"),
        ({"tag": "colors", "include": "cup"}, "'include' must be a list"),
        (task(exclude="cup"), "'exclude' must be a list"),
        (task("cup"), r"include\[0\]: expected a mapping"),
        (task({"count": 1}), r"include\[0\]: no 'class'"),
        (task({"class": "cup"}), r"include\[0\]: no 'count'"),
        (task(want("cup", 0)), r"include\[0\]: 'count' must be"),
        (task(want("cup", True)), r"include\[0\]: 'count' must be"),
        (task(want("cup", 1.5)), r"include\[0\]: 'count' must be"),
        (task(want("cup", colour="red")), r"include\[0\]: unknown key 'colour'"),
        (task(want("cup", color=3)), r"include\[0\]: 'color' must be a string"),
        (task(want("cup"), want("dog", position="above")), r"include\[1\]: 'position' must be"),
        (task(want("cup"), want("dog", position=["under", 0])), "unknown 'under'.*below"),
        (task(want("cup"), want("dog", position=["above", 1])), "1 is not the index"),
        (task(want("cup"), want("dog", position=["above", -1])), "-1 is not the index"),
        (task(exclude=[want("cup", color="red")]), r"exclude\[0\]: unknown key 'color'"),
    ],
)
def test_malformed_metadata_is_refused_by_the_name_of_the_key(metadata, culprit):
    with pytest.raises(GuardcoreError, match=culprit) as caught:
        judge(metadata, [])
    assert isinstance(caught.value, ValueError)


def test_none_counts_as_absent():
    clause = want("cup", color=None, position=None)
    assert judge({"tag": "x", "include": [clause], "exclude": None}, [at("cup", 0, 0)]).correct


# The reward


def detect(images):
    """Take a bright pixel in an image's row 0 for a red cup, in row 1 for a blue one."""
    return [
        [
            at("cup", float(x), float(y), color=("red", "blue")[int(y)])
            for y, x in image[0, :2].nonzero()
        ]
        for image in images
    ]


def pictures(*counts):
    images = torch.zeros(len(counts), 3, 4, 4)
    for image, (red, blue) in zip(images, counts, strict=True):
        image[:, 0, :red] = 1
        image[:, 1, :blue] = 1
    return images


TWO_CUPS = Prompt("two cups", task(want("cup", 2)))
RED_CUP = Prompt("a red cup", task(want("cup", color="red")))


@pytest.mark.parametrize(("credit", "scores"), [("strict", [0, 1, 0]), ("partial", [0.5, 1, 0.5])])
def test_strict_gives_zero_or_one_and_partial_gives_credit(credit, scores):
    reward = GenEval(detect, credit)
    answer = reward(pictures((1, 0), (1, 1), (0, 1)), [TWO_CUPS, RED_CUP, RED_CUP])
    assert (answer.dtype, answer.device.type) == (torch.float32, "cpu")
    assert answer.tolist() == scores
    reward.close()


def test_a_batch_scores_as_its_rows_do():
    reward = GenEval(detect, "partial")
    images, prompts = pictures((1, 0), (2, 0), (0, 0)), [TWO_CUPS, TWO_CUPS, RED_CUP]
    rows = [reward(images[i : i + 1], prompts[i : i + 1]) for i in range(3)]
    assert torch.equal(reward(images, prompts), torch.cat(rows))


def test_a_prompt_without_metadata_is_named():
    with pytest.raises(GuardcoreError, match=r"prompt 'a cat'.*'tag'"):
        GenEval(detect)(pictures((1, 0)), [Prompt("a cat")])


def test_a_detector_must_answer_for_every_image():
    with pytest.raises(ValueError, match="0 of 1"):
        GenEval(lambda images: [])(pictures((1, 0)), [RED_CUP])


def test_the_factory_takes_the_tiny_worlds_reader(monkeypatch):
    module = ModuleType("guardcore_plugins.tiny_world.reader")
    module.read = detect
    monkeypatch.setitem(sys.modules, module.__name__, module)
    reward = geneval(GenEvalOptions(credit="partial"))
    assert reward(pictures((0, 1)), [RED_CUP]).tolist() == [0.5]
