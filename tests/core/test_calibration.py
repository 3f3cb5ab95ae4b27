"""``range: auto``: measured over the first iterations, then a number like any other."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guardcore import GuardcoreError, create
from guardcore.calibration import quantile
from runs import checkpoints, falling, rows, run, whole

AUTO = {"use": "ppo-clip", "range": "auto", "outside_fraction": 0.2, "calibration_iterations": 2}
SIZES = {"rollout": {"groups": 4, "group_size": 10, "batch_size": 20}}
TRAIN = {"iterations": 4, "updates_per_iteration": 3, "learning_rate": 0.05}


def auto(directory, host=None, resume=False, reward=("brightness",), **train):
    return run(
        directory,
        host=host,
        resume=resume,
        reward=list(reward),
        strategy=None,
        ratio=["ratio-norm", AUTO],
        checkpoint={"every": 1},
        train={**TRAIN, **train},
        **SIZES,
    )


def calibrated(directory):
    return json.loads((directory / "manifest.json").read_text())["calibrated"]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.floats(0.01, 0.99))
def test_the_quantile_leaves_no_more_than_the_fraction_outside(values, fraction):
    width = quantile(torch.tensor(values, dtype=torch.float64), 1 - fraction)
    outside = sum(value > width for value in values)
    assert width in values
    assert outside <= fraction * len(values) + 1  # to the nearest of so few


def test_the_quantile_of_a_hundred_numbers_by_hand():
    assert quantile(torch.arange(1, 101).double(), 0.9) == 90
    assert quantile(torch.tensor([3.0]).double(), 0.5) == 3


def test_the_range_is_the_quantile_of_the_iterations_it_looked_at(tmp_path):
    auto(tmp_path)
    free = [row for row in rows(tmp_path, "steps") if row["iteration"] <= 2]
    assert all(row["blocked"] == row["clip_high"] == row["clip_low"] == 0 for row in free)
    options = calibrated(tmp_path)["ratio.1"]
    assert options["low"] == options["high"] > 0
    assert options["range"] is None
    # 480 ratios were measured, and steps.jsonl has 21 quantiles of each 40 of them: as |r − 1|
    # a fraction within a few hundredths of one fifth lies further out
    spread = [abs(q - 1) for r in free if r["update"] > 1 for q in r["ratio_quantiles"]]
    outside = sum(value > options["high"] for value in spread) / len(spread)
    assert 0.12 < outside < 0.28
    later = [row for row in rows(tmp_path, "steps") if row["iteration"] > 2 and row["update"] > 1]
    assert any(row["clip_high"] + row["clip_low"] > 0 for row in later)


def test_the_run_goes_on_as_one_that_had_the_number_from_the_start(tmp_path):
    auto(tmp_path / "auto")
    width = calibrated(tmp_path / "auto")["ratio.1"]["high"]
    run(
        tmp_path / "number",
        strategy=None,
        ratio=["ratio-norm", {"use": "ppo-clip", "low": width, "high": width}],
        train={**TRAIN, "iterations": 1},
        **SIZES,
    )
    first = [
        r for r in rows(tmp_path / "auto", "steps") if r["iteration"] == 1 and r["update"] == 2
    ]
    clipped = [r for r in rows(tmp_path / "number", "steps") if r["update"] == 2]
    # one update on, the weights are the same: only the clip's own figures differ
    assert [r["ratio_quantiles"] for r in first] == [r["ratio_quantiles"] for r in clipped]


@pytest.mark.parametrize("died_in", [2, 3])
def test_killed_before_or_after_the_range_is_set_the_run_is_the_same(tmp_path, died_in):
    own = {"reward": ["test:brightness"]}
    auto(tmp_path / "whole", host=falling(0), **own)
    host = falling(1 + 2 * died_in)  # one call an evaluation, two micro-batches an iteration
    with pytest.raises(GuardcoreError, match="power"):
        auto(tmp_path / "killed", host=host, **own)
    assert 0 < checkpoints(tmp_path / "killed")[-1] < 4
    auto(tmp_path / "killed", host=host, resume=True, **own)
    assert whole(tmp_path / "whole") == whole(tmp_path / "killed")
    assert calibrated(tmp_path / "whole") == calibrated(tmp_path / "killed")


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"updates_per_iteration": 1}, "ratio.1: needs train.updates_per_iteration of 2 or more"),
        ({"iterations": 2}, "ratio.1: calibrates over 2 iterations, and train.iterations is 2"),
    ],
)
def test_a_run_that_cannot_calibrate_is_refused_before_it_begins(tmp_path, train, said):
    with pytest.raises(GuardcoreError, match=said):
        auto(tmp_path / "run", **train)
    assert not (tmp_path / "run").exists()


def test_a_transform_that_is_built_by_hand_sees_numbers():
    from guardcore_plugins.ratio_transforms import PPOClipOptions

    options = PPOClipOptions(range="auto", outside_fraction=0.3)
    assert options.calibration().fraction == 0.3
    assert options.calibrated(0.25) == PPOClipOptions(low=0.25, high=0.25, outside_fraction=0.3)
    assert options.calibrated(7.0).low < 1 < options.calibrated(7.0).high
    assert PPOClipOptions().calibration() is None
    assert create("ratio_transform", "ppo-clip", low=0.25, high=0.25)
