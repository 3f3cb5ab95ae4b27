import math

import pytest
import torch

from guardcore import Prompt
from guardcore.evaluation import Evaluation, held_out, paired_difference
from guardcore.inference import standard_error


def test_held_out_prompts_begin_again_where_there_are_fewer_than_images():
    source = [Prompt("a"), Prompt("b"), Prompt("c")]
    assert [p.text for p in held_out(source, 2)] == ["a", "b"]
    assert [p.text for p in held_out(source, 7)] == ["a", "b", "c", "a", "b", "c", "a"]


def test_the_paired_difference_by_hand():
    # differences 1, 2, 3: mean 2, standard deviation 1, over sqrt(3)
    mean, error = paired_difference([0.0, 10.0, 20.0], [1.0, 12.0, 23.0])
    assert mean == pytest.approx(2.0)
    assert error == pytest.approx(1 / math.sqrt(3))


def test_one_image_has_a_difference_and_no_error():
    assert paired_difference([1.0], [3.0]) == (2.0, math.inf)
    assert standard_error(torch.tensor([1.0])) == math.inf


def test_the_standard_error_by_hand():
    assert standard_error(torch.tensor([1.0, 2.0, 3.0])) == pytest.approx(1 / math.sqrt(3))


def test_unequal_evaluations_are_not_compared():
    with pytest.raises(ValueError, match="zip"):
        paired_difference([1.0], [1.0, 2.0])


def test_an_evaluation_as_figures_and_as_plain_data():
    scores = {"ocr": torch.tensor([0.25, 0.75]).double()}
    evaluation = Evaluation([Prompt("a"), Prompt("b")], scores, torch.zeros(1, 3, 8, 8))
    assert evaluation.metrics() == {"eval/ocr": 0.5}
    assert evaluation.record() == {"prompts": ["a", "b"], "scores": {"ocr": [0.25, 0.75]}}


def test_scores_are_told_apart_by_the_prompts_tag():
    prompts = [Prompt("a", {"tag": "colors"}), Prompt("b"), Prompt("c", {"tag": "counting"})]
    prompts.append(Prompt("d", {"tag": "colors"}))
    scores = {"x": torch.tensor([1.0, 2.0, 3.0, 4.0]), "y": torch.tensor([0.0, 0.0, 1.0, 1.0])}
    found = Evaluation(prompts, scores, torch.empty(0, 3, 8, 8)).by_tag()
    assert {tag: {n: v.tolist() for n, v in s.items()} for tag, s in found.items()} == {
        "colors": {"x": [1.0, 4.0], "y": [0.0, 1.0]},
        "counting": {"x": [3.0], "y": [1.0]},
    }
