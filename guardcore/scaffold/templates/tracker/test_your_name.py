"""The contract, and what is said of five iterations."""

import pytest
from guardcore.testing import check_tracker

from guardcore_your_name import YourNameOptions, your_name_tracker


def test_it_keeps_the_contract() -> None:
    check_tracker(your_name_tracker(YourNameOptions()))


def test_a_line_for_every_record_and_for_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    tracker = your_name_tracker(YourNameOptions())
    for step, score in enumerate([0.25, 0.125, float("nan"), 0.5, 0.5]):
        tracker.metrics(step, {"eval/geneval": score, "loss": float(step)})
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "iteration 0: eval/geneval 0.2500, the best so far",
        "iteration 3: eval/geneval 0.5000, the best so far",
    ]
