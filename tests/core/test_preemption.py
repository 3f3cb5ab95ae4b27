"""Ctrl-C and a scheduler's signals: what is saved, and with which code the process ends."""

import re
import signal
import time

import pytest
import yaml

from runs import (
    checkpoints,
    metrics,
    slow_tree,
    wait_for_checkpoint,
    wait_for_rows,
    whole,
    whole_state,
)

CODES = {signal.SIGINT: 130, signal.SIGTERM: 75, signal.SIGUSR1: 75}


@pytest.mark.parametrize("number", CODES)
def test_a_signal_finishes_the_iteration_saves_it_and_says_how_to_go_on(
    guardcore, tmp_path, undisturbed, number
):
    tree = slow_tree(0.02, checkpoint={"every": 100, "keep": 2})
    want, _ = undisturbed(tree)
    process = guardcore.start("train", "config.yaml", "--out", "run")
    wait_for_rows(tmp_path / "run", 2)  # evaluated, and one iteration done
    process.signal(number)
    done = process.wait()
    assert done.code == CODES[number]
    last = metrics(tmp_path / "run")[-1]["iteration"]
    assert last < 6
    assert checkpoints(tmp_path / "run") == [last]
    assert number.name in done.err
    assert f"after iteration {last}" in done.err
    assert "guardcore train --resume --out run" in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "run" / "error.log").exists()
    done = guardcore("train", "config.yaml", "--out", "run", "--resume")
    assert done.code == 0, done.err
    assert whole_state(tmp_path / "run") == {k: v for k, v in want.items() if k != "checkpoints"}


def test_the_resume_command_that_is_printed_works_as_it_stands(guardcore, tmp_path, undisturbed):
    want, _ = undisturbed(slow_tree(0.02))
    process = guardcore.start("train", "config.yaml", "--out", "run")
    wait_for_rows(tmp_path / "run", 2)
    process.signal(signal.SIGTERM)
    printed = process.wait().err.partition("go on with: ")[2].split()
    assert printed[0] == "guardcore"
    assert guardcore(*printed[1:]).code == 0
    assert whole(tmp_path / "run") == want


def test_a_second_ctrl_c_stops_at_once(guardcore, tmp_path):
    tree = slow_tree(5)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    process = guardcore.start("train", "config.yaml", "--out", "run")
    while not (tmp_path / "run" / "checkpoints").is_dir():
        time.sleep(0.01)
    time.sleep(0.2)  # into the first evaluation, which takes five seconds
    process.signal(signal.SIGINT)
    time.sleep(0.2)
    process.signal(signal.SIGINT)
    start = time.monotonic()
    done = process.wait()
    assert time.monotonic() - start < 2
    assert done.code == 130
    assert "go on with: guardcore train --resume --out run" in done.err
    assert "Traceback" not in done.err


def test_a_signal_while_the_base_is_evaluated_is_not_lost(guardcore, tmp_path, undisturbed):
    tree = slow_tree(0.03)
    want, _ = undisturbed(tree)
    process = guardcore.start("train", "config.yaml", "--out", "run")
    while not (tmp_path / "run" / "checkpoints").is_dir():
        time.sleep(0.002)
    process.signal(signal.SIGTERM)
    done = process.wait()
    assert done.code == 75
    assert guardcore("train", "--out", "run", "--resume").code == 0
    assert whole(tmp_path / "run") == want


def test_a_scheduler_may_say_it_twice(guardcore, tmp_path, undisturbed):
    # a launcher passes on what the scheduler has sent to every process of the job already
    tree = slow_tree(0.05)
    want, _ = undisturbed(tree)
    process = guardcore.start("train", "config.yaml", "--out", "run")
    wait_for_rows(tmp_path / "run", 2)
    for _ in range(3):
        process.signal(signal.SIGTERM)
        time.sleep(0.01)
    done = process.wait()
    assert done.code == 75, done.err
    assert done.err.count("finishing this iteration") == 1
    assert metrics(tmp_path / "run")[-1]["iteration"] == checkpoints(tmp_path / "run")[-1]
    assert guardcore("train", "--out", "run", "--resume").code == 0
    assert whole(tmp_path / "run") == want


def test_before_there_is_anything_to_save_a_scheduler_gets_the_same_code(faulty, tmp_path):
    # while components are built: a prompt source that takes as long as a download
    tree = slow_tree(0, prompts={"train": {"use": "slow-words", "seconds": 60}})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    process = faulty.start("train", "config.yaml", "--out", "run")
    while not (tmp_path / "building").exists():
        time.sleep(0.01)
    process.signal(signal.SIGUSR1)
    done = process.wait()
    assert done.code == 75
    assert done.err == ("stopped by SIGUSR1; go on with: guardcore train --resume --out run\n")
    assert not (tmp_path / "run").exists()


def test_an_iteration_longer_than_the_grace_costs_itself_alone(faulty, tmp_path, undisturbed):
    # a preemption as schedulers do it: SIGTERM, some seconds, SIGKILL. The third iteration's first
    # call of the reward is the seventh, and never ends; what goes on has no seventh.
    def tree(fault):
        return slow_tree(0, iterations=3, reward=[{"use": "faulty", "fault": fault, "at": 7}])

    want, _ = undisturbed(tree("none"))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree("hang")))
    process = faulty.start("train", "config.yaml", "--out", "run")
    wait_for_checkpoint(tmp_path / "run", 2)
    process.signal(signal.SIGTERM)
    time.sleep(0.05)
    process.signal(signal.SIGKILL)
    assert process.wait().code == -signal.SIGKILL
    assert checkpoints(tmp_path / "run") == [1, 2]
    assert faulty("train", "--out", "run", "--resume").code == 0
    assert whole(tmp_path / "run") == want


def test_the_help_says_which_codes_there_are(guardcore):
    told = guardcore("train", "--help").out
    for code in ("0", "2", "75", "130"):
        assert re.search(rf"\b{code} (finished|something|stopped)", told), code
