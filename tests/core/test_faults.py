"""A slow disk and numbers that are not finite: the run is right, or ends in one line."""

import re
import signal
import time

import pytest
import yaml

from guardcore import checkpoint
from guardcore.signals import GO_ON
from runs import checkpoints, left_over, metrics, rows, wait_for_checkpoint, whole, whole_state
from toy import toy_tree


def tree(**sections):
    """Four iterations of four calls of the reward each."""
    found = {
        "reward": ["faulty"],
        "prompts": {"train": "words", "eval": None},
        "train": {"iterations": 4},
        "checkpoint": {"every": 1, "keep": 2},
    }
    return toy_tree(**found | sections)


def slow_disk(seconds):
    return [{"use": "faulty-tracker", "slow_disk": seconds}]


def begin(faulty, folder, tree):
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    return faulty.start("train", "config.yaml", "--out", "run")


def test_on_a_slow_disk_a_run_is_the_same_and_later(faulty, tmp_path, undisturbed):
    want, _ = undisturbed(tree())
    start = time.monotonic()
    assert begin(faulty, tmp_path, tree(tracker=slow_disk(0.1))).wait().code == 0
    # a checkpoint syncs two JSONL files, three of its own at least, and two folders
    assert time.monotonic() - start > 4 * 7 * 0.1
    assert whole(tmp_path / "run") == want
    assert all(row["seconds/checkpoint"] > 0.7 for row in rows(tmp_path / "run", "metrics")[1:])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_during_a_slow_write_leaves_what_is_whole(faulty, tmp_path, undisturbed, number):
    want, _ = undisturbed(tree())
    run = tmp_path / "run"
    process = begin(faulty, tmp_path, tree(tracker=slow_disk(0.2)))
    wait_for_checkpoint(run, 1)
    while not (run / ".writing").is_dir():
        time.sleep(0.001)
    process.signal(number)
    last = {signal.SIGTERM: GO_ON, signal.SIGKILL: -signal.SIGKILL}
    assert process.wait().code == last[number]
    saved = checkpoints(run)[-1]
    # SIGTERM: the one that is being written, or the next, whose iteration is quick; -9: the one before
    assert (saved >= 2) if number == signal.SIGTERM else (saved == 1)
    checkpoint.find(run / "checkpoints")[-1].load()
    assert (run / ".writing").exists() == (number == signal.SIGKILL)
    assert faulty("train", "--out", "run", "--resume").code == 0
    assert whole_state(run) == {name: v for name, v in want.items() if name != "checkpoints"}
    assert left_over(run) == []


def test_a_score_that_is_no_number_ends_the_run_in_one_line(faulty, tmp_path, undisturbed):
    want, _ = undisturbed(tree())
    done = begin(faulty, tmp_path, tree(reward=[{"use": "faulty", "nan_at": 10}])).wait()
    assert done.code == 2
    assert re.fullmatch(r"error: reward 'faulty' returned nan for prompt 'w+'\n", done.err)
    assert checkpoints(tmp_path / "run") == [1, 2]
    assert faulty("train", "--out", "run", "--resume").code == 0  # eight calls are left
    assert whole(tmp_path / "run") == want


@pytest.mark.parametrize(
    ("velocity", "line"),
    [
        (17, "before the first update the log-ratio reaches nan where at most"),
        (40 + 5, "reward 'faulty' returned nan for prompt 'w"),
    ],
    ids=["in the first update", "in the second rollout"],
)
def test_a_velocity_that_is_no_number_is_found_before_it_does_harm(
    faulty, tmp_path, velocity, line
):
    # an iteration asks 4 micro-batches × 4 steps for images, then 2 updates × 4 × 3 trained steps
    done = begin(faulty, tmp_path, tree(backbone={"use": "faulty-toy", "nan_at": velocity})).wait()
    assert done.code == 2
    assert done.err.startswith(f"error: {line}")
    assert done.err.count("\n") == 1
    assert checkpoints(tmp_path / "run") == ([] if velocity == 17 else [1])


def test_a_velocity_that_is_no_number_in_a_second_update_costs_that_update(
    faulty, guardcore, tmp_path
):
    guardcore.report = True  # its figures have gaps then
    tree_ = tree(backbone={"use": "faulty-toy", "nan_at": 40 + 16 + 12 + 1})
    done = begin(faulty, tmp_path, tree_).wait()
    assert done.code == 0, done.err
    assert "is not written" not in done.err
    assert [row["updates/skipped"] for row in metrics(tmp_path / "run")] == [0, 1, 1, 1]
    broken = [row for row in rows(tmp_path / "run", "steps") if row["ratio_mean"] is None]
    assert {(row["iteration"], row["update"]) for row in broken} == {(2, 2)}
