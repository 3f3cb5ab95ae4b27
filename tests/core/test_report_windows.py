"""A report says which steps were trained, in whatever form the config says it."""

import pytest

from guardcore.binding import bind
from guardcore.bound import resolved
from guardcore.layers import parse_config
from guardcore.report.facts import facts
from guardcore.report.read import read_run
from guardcore.report.windows import trained_steps
from runs import run
from toy import toy_host, toy_tree

SLIDING = {"use": "sliding", "size": 2, "every": 5}


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ("all", "all but the last"),
        ([2, 0], "0, 2"),
        ({"size": 2, "from": 1}, "2 in a row, from step 1"),
        (
            {"size": 1, "choose": "random"},
            "1 in a row, anywhere from step 0 to the last, anew in each iteration",
        ),
        (
            SLIDING,
            "2 in a row, from step 0; moves by 1 every 5 iterations, to the last one, and stays",
        ),
        (
            {"use": "sliding", "size": 1, "from": 2, "every": 1, "stride": 2, "to": 3},
            "1 in a row, from step 2; moves by 2 every iteration, to 3, and stays",
        ),
        (
            {**SLIDING, "decay": 0.1, "decay_from": 4, "to": 3, "end": "restart"},
            "2 in a row, from step 0; moves by 1 every 5 iterations, faster from step 4, to 3, "
            "and begins again",
        ),
    ],
)
def test_a_resolved_window_in_words(window, words):
    config = parse_config(toy_tree(rollout={"train_steps": window}))
    written = resolved(config, bind(config, toy_host().registry))["rollout"]["train_steps"]
    assert trained_steps(written) == words


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ("all", "all but the last"),
        ([2, 0], "0, 2"),
        ({"size": 2, "from": 1, "to": None, "choose": "fixed"}, "2 in a row, from step 1"),
        ({"use": "acme:zigzag", "width": 3}, "acme:zigzag (width 3)"),
    ],
)
def test_a_window_of_an_older_run_or_of_a_stranger_in_words(window, words):
    assert trained_steps(window) == words


def test_refilling_is_told_where_there_is_any(tmp_path):
    rewards, rollout = ["constant"], {"refill": 2}
    run(tmp_path / "on", reward=rewards, rollout=rollout, train={"iterations": 2})
    run(tmp_path / "off", reward=rewards, train={"iterations": 2})
    told = facts(read_run(tmp_path / "on"))["Refilling"]
    assert told == (
        "6 groups an iteration had one score for all images, and were replaced in at most 2 rounds"
    )
    assert "Refilling" not in facts(read_run(tmp_path / "off"))
