"""How a run of several processes begins and ends: one line where one says it all, and no hang."""

import json
import signal
import time
from pathlib import Path

import pytest

from guardcore.signals import GO_ON
from launch import free_port, write_config
from runs import checkpoints, metrics, wait_for_checkpoint

WAITS = "waited in vain for another in phase"


def slow(folder: Path, timeout: float = 60, seconds: float = 0.05, **sections) -> Path:
    """A run that will not be over soon."""
    reward = [{"use": "colour", "seconds": seconds}]
    train = {"iterations": 500, "learning_rate": 0.02}
    return write_config(
        folder, reward=reward, train=train, distributed={"timeout": timeout}, **sections
    )


def test_a_signal_to_any_process_stops_all_after_the_iteration(together, guardcore, tmp_path):
    run = tmp_path / "run"
    processes = together(2, "train", slow(tmp_path), "--out", run)
    wait_for_checkpoint(run, 2)
    processes[1].signal(signal.SIGTERM)
    first, second = processes.wait()
    assert (first.code, second.code) == (GO_ON, GO_ON)
    last = metrics(run)[-1]["iteration"]
    assert checkpoints(run)[-1] == last
    assert f"stopped by SIGTERM after iteration {last}; go on with" in first.err
    assert "go on with" not in second.err + second.out
    assert json.loads((run / "manifest.json").read_text())["processes"] == 2


@pytest.mark.parametrize("dead", [0, 1])
def test_a_killed_process_ends_the_run_in_one_line(together, tmp_path, dead):
    run = tmp_path / "run"
    processes = together(2, "train", slow(tmp_path), "--out", run)
    wait_for_checkpoint(run, 1)
    processes[dead].signal(signal.SIGKILL)
    begun = time.monotonic()
    killed, left = processes[dead].wait(), processes[1 - dead].wait()
    assert time.monotonic() - begun < 30
    assert killed.code == -9
    assert left.code == 2
    (line,) = [line for line in left.err.splitlines() if WAITS in line]
    assert f"process {1 - dead} of 2" in line
    assert "Traceback" not in left.err
    log = run / ("error.log" if dead else "error-rank-1.log")
    assert WAITS in log.read_text()


def test_a_process_that_hangs_ends_the_run_within_the_time_out(together, tmp_path):
    run = tmp_path / "run"
    processes = together(2, "train", slow(tmp_path, timeout=4), "--out", run)
    wait_for_checkpoint(run, 1)
    processes[1].signal(signal.SIGSTOP)
    begun = time.monotonic()
    left = processes[0].wait()
    took = time.monotonic() - begun
    processes[1].signal(signal.SIGKILL)
    processes[1].signal(signal.SIGCONT)
    processes[1].wait()
    assert left.code == 2
    assert "none came within 4 s (distributed.timeout)" in left.err
    assert took < 4 + 30  # and a report is written


def test_a_process_that_fails_says_why_and_the_others_what_they_waited_for(together, tmp_path):
    fault = [{"use": "colour", "fault": "raise", "calls": 1}]
    config = write_config(
        tmp_path,
        reward=fault,
        prompts={"train": "words", "eval": None},
        rollout={"group_size": 3},  # 9 images in 3 micro-batches: two for one, one for the other
    )
    run = tmp_path / "run"
    first, second = together(2, "train", config, "--out", run).wait()
    assert (first.code, second.code) == (2, 2)
    assert "the judge has left the room" in first.err
    assert WAITS in second.err
    assert "'sampling'" in second.err
    assert "the judge has left the room" in (run / "error.log").read_text()
    assert WAITS in (run / "error-rank-1.log").read_text()


def test_not_all_processes_come(together, tmp_path):
    argv = ("train", slow(tmp_path, timeout=2), "--out", tmp_path / "run")
    first, second = together(2, *argv, WORLD_SIZE="3").wait()
    assert (first.code, second.code) == (2, 2)
    assert "3 processes were announced (WORLD_SIZE), and this one, RANK 0," in first.err
    assert not (tmp_path / "run").exists()


def test_what_is_wrong_for_all_is_said_once(together, tmp_path):
    config = write_config(tmp_path, reward=["colours"])
    said = together(2, "train", config, "--out", tmp_path / "run").wait()
    assert [process.code for process in said] == [2, 2]
    assert "did you mean 'colour'?" in said[0].err
    assert not said[1].err
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a file").write_text("")
    config = write_config(tmp_path)
    said = together(2, "train", config, "--out", tmp_path / "there").wait()
    assert [process.code for process in said] == [2, 2]
    assert "is not empty and holds no run" in said[0].err
    assert not said[1].err


def test_what_one_process_alone_can_do_is_refused(together, tmp_path):
    config = write_config(tmp_path)
    said = together(2, "train", config, "--record", "--out", tmp_path / "run").wait()
    assert [process.code for process in said] == [2, 2]
    assert "record.iterations: only a single process can record, and these are 2" in said[0].err
    assert not (tmp_path / "run").exists()
    said = together(2, "eval", config).wait()
    assert [process.code for process in said] == [2, 2]
    assert "only `guardcore train` works in several processes" in said[0].err


def test_another_config_in_one_process_is_noticed(guardcore, together, tmp_path):
    config, port = write_config(tmp_path), str(free_port())
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    processes = [
        guardcore.start(
            *("train", config, "--set", f"seed={rank}", "--out", tmp_path / "run"),
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in (0, 1)
    ]
    said = [process.wait() for process in processes]
    assert [process.code for process in said] == [2, 2]
    assert "do not have the same config" in said[0].err
