"""What an evaluation comes to, by hand."""

import math

import pytest
import torch

from guardcore import Prompt
from guardcore.evaluation import Evaluation
from guardcore.summary import best_of, over_tasks, summarize

PROMPTS = [
    Prompt("a", {"tag": "colors"}),
    Prompt("b", {"tag": "colors"}),
    Prompt("c", {"tag": "counting"}),
]


def evaluation(scores, prompts=PROMPTS):
    turns = [prompts[i % len(prompts)] for i in range(len(scores))]
    scores = {"geneval": torch.tensor(scores, dtype=torch.float64)}
    return Evaluation(turns, scores, torch.zeros(0, 3, 8, 8))


def test_tasks_count_alike_whatever_their_size():
    row = summarize(evaluation([1, 0, 1, 1, 1, 1]), 3)["geneval"]
    assert row["by_tag"]["colors"]["mean"] == 3 / 4
    assert row["by_tag"]["counting"]["mean"] == 1
    assert row["over_tasks"]["mean"] == pytest.approx(7 / 8)
    assert row["over_tasks"]["tasks"] == 2
    assert (row["mean"], row["images"]) == (pytest.approx(5 / 6), 6)


def test_the_error_of_the_mean_of_tasks_by_hand():
    tasks = {tag: {"mean": 0.5, "standard_error": error} for tag, error in [("a", 0.3), ("b", 0.4)]}
    assert over_tasks(tasks)["standard_error"] == pytest.approx(0.25)  # sqrt(.09 + .16)/2


def test_a_prompt_is_as_good_as_its_best_image():
    row = best_of(torch.tensor([1.0, 0, 0, 0, 0, 0]), 3)
    assert (row["mean"], row["images_a_prompt"], row["prompts"]) == (pytest.approx(1 / 3), 2, 3)
    # the prompts' best are 1, 0, 0: standard deviation 1/sqrt(3), over sqrt(3)
    assert row["standard_error"] == pytest.approx(1 / 3)


def test_best_images_are_those_of_one_prompt():
    row = summarize(evaluation([1, 0, 0, 0, 1, 0]), 3)["geneval"]
    assert row["best_of"]["mean"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("scores", [[1, 0, 1], [1, 0, 1, 1], [1, 0]])
def test_unequal_numbers_of_images_have_no_best(scores):
    assert "best_of" not in summarize(evaluation(scores), 3)["geneval"]


def test_one_task_or_none_has_no_mean_of_tasks():
    for prompts in ([Prompt("a")], PROMPTS[:1]):
        row = summarize(evaluation([1, 0], prompts), 1)["geneval"]
        assert "over_tasks" not in row
        assert row["standard_error"] == pytest.approx(math.sqrt(0.5) / math.sqrt(2))
