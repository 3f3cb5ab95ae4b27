import json
import re

import pytest
import torch

from guardcore import Tracker, create

FIGURES = {
    "reward/brightness": 0.5,
    "eval/brightness": 0.625,
    "ratio/mean": 1 - 3e-6,
    "ratio/std": 2e-6,
    "clip/low": 0.25,
    "clip/high": 0.125,
    "seconds/forward": 1.25,
    "seconds/update": 2.5,
    "seconds/total": 4.0,
}


@pytest.mark.parametrize("name", ["console", "jsonl"])
def test_a_tracker_is_told_everything_and_survives_it(name):
    tracker = create("tracker", name)
    assert isinstance(tracker, Tracker)
    tracker.metrics(0, {"eval/brightness": 0.5})
    tracker.metrics(1, FIGURES)
    tracker.images(1, "held-out", torch.zeros(1, 3, 8, 8), ["a cat"])
    tracker.close()


def test_jsonl_writes_an_object_a_line_to_standard_output(capsys):
    tracker = create("tracker", "jsonl")
    tracker.metrics(1, FIGURES)
    tracker.metrics(2, {"loss": -0.5})
    tracker.close()
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [
        {"iteration": 1, **FIGURES},
        {"iteration": 2, "loss": -0.5},
    ]
    assert err == ""


def test_jsonl_appends_to_a_file_line_by_line(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    for iteration in (1, 2):  # a resumed run opens it again
        tracker = create("tracker", "jsonl", path=path)
        tracker.metrics(iteration, {"loss": 0.5})
        seen = path.read_text()  # before close: a log collector reads while the run goes on
        tracker.close()
    assert [json.loads(line)["iteration"] for line in seen.splitlines()] == [1, 2]
    assert capsys.readouterr().out == ""


def test_jsonl_writes_null_where_json_has_no_word(capsys):
    create("tracker", "jsonl").metrics(1, {"loss": float("nan"), "grad_norm": float("inf")})
    (line,) = capsys.readouterr().out.splitlines()
    assert "NaN" not in line
    assert json.loads(line) == {"iteration": 1, "loss": None, "grad_norm": None}


def test_without_a_terminal_the_console_prints_one_plain_line_an_iteration(capsys):
    tracker = create("tracker", "console")
    tracker.progress("sample", 4, 8)
    tracker.metrics(1, FIGURES)
    tracker.metrics(2, {"reward/brightness": 0.75})
    tracker.close()
    out, err = capsys.readouterr()
    first, second = err.splitlines()
    assert out == ""
    assert "\x1b" not in err
    assert first.startswith("iteration 1: ")
    for shown in ("0.500", "0.625", "-3.0e-06", "2.0e-06", "25%", "12%", "4.0 s"):
        assert shown in first
    assert second == "iteration 2: reward brightness 0.750"


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")


def test_on_a_terminal_the_console_draws_bars_and_a_table_in_80_columns(terminal, capsys):
    tracker = create("tracker", "console")
    tracker.metrics(0, {"eval/brightness": 0.5})
    tracker.progress("train", 1, 60)
    tracker.progress("sample", 4, 8)
    tracker.metrics(1, FIGURES)
    tracker.close()
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    for piece in ("train", "1/60", "brightness", "0.500", "0.625", "at first 0.500", "-3.0e-06"):
        assert piece in last
    for piece in ("25%", "12%", "4.0 s", "update 2.5 s"):
        assert piece in last
    assert max(map(len, last.splitlines())) <= 80


def test_the_table_keeps_only_the_last_few_iterations(terminal, capsys):
    tracker = create("tracker", "console")
    for iteration in range(1, 40):
        tracker.metrics(iteration, {"reward/brightness": iteration / 100})
    capsys.readouterr()
    tracker.close()
    last = capsys.readouterr().err
    assert "0.390" in last
    assert "0.010" not in last


def test_a_reward_with_brackets_in_its_name_is_shown_as_it_is(terminal, capsys):
    tracker = create("tracker", "console")
    tracker.metrics(1, {"reward/mine:colour=[red]": 0.5, "eval/mine:colour=[/red]": 0.5})
    tracker.close()
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "mine:colour=[red]" in last
    assert "mine:colour=[/red]" in last


def test_a_title_is_a_line_above_the_iterations(capsys):
    tracker = create("tracker", "console", title="run 2 of 7 [guard]")
    tracker.metrics(1, {"reward/brightness": 0.75})
    tracker.close()
    assert capsys.readouterr().err.splitlines() == [
        "run 2 of 7 [guard]",
        "iteration 1: reward brightness 0.750",
    ]


@pytest.mark.parametrize("title", ["", "run 2 of 7"])
def test_on_a_terminal_a_titled_display_is_gone_when_the_run_is_over(title, terminal, capsys):
    tracker = create("tracker", "console", title=title)
    tracker.metrics(1, FIGURES)
    tracker.progress("train", 1, 60)
    tracker.close()
    drawn, _, after = capsys.readouterr().err.rpartition("1/60")
    assert title in drawn
    cleared = after.count("\x1b[2K")  # lines that are erased after the last drawing
    assert cleared >= 5 if title else cleared == 0
