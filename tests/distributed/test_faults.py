"""A fault in one process of two: both end in time, a line names it, and the run goes on."""

import re
import signal
import time

import pytest
import yaml

from forge import Guardcore
from guardcore import checkpoint
from guardcore.signals import GO_ON
from launch import together as start_together
from launch import write_config
from runs import checkpoints, left_over, metrics, wait_for_checkpoint, whole, whole_state

pytestmark = pytest.mark.usefixtures("faulty")

TIMEOUT, LEAVING = 20, 40
"""Seconds: one waits for another; a process may take over its end, on a busy machine."""

LINES = {
    "hang-with-a-child": r"reward 'faulty' has not answered for 1 s \(rollout\.reward_timeout\); "
    r"the first of \d prompts was 'w+'; mend it, then go on with --resume",
    "raise": r"reward 'faulty' raised RuntimeError: the judge has left the room; .* 'w+'",
    "full-disk": r"cannot write run/steps\.jsonl: File too large; mend that and go on with "
    r"--resume, what was saved before is untouched",
    "kill": None,
    "nan": r"reward 'faulty' returned nan for prompt 'w+'",
}
VAIN = r"process {} of 2 waited in vain for another in phase '[\w ,-]+': {}; .*"


def config_with(folder, fault="none", rank=None, at=5, timeout=TIMEOUT, limit=1.0, **sections):
    """Four iterations of two calls in each process: the fifth is met in the third iteration.

    It is not met again by what goes on from the second.
    """
    found = {"nan_at": at} if fault == "nan" else {"fault": fault, "at": at}
    return write_config(
        folder,
        reward=[{"use": "faulty", "rank": rank} | found],
        prompts={"train": "words", "eval": None},
        train={"iterations": 4},
        checkpoint={"every": 1, "keep": 2},
        rollout={"reward_timeout": limit},
        distributed={"timeout": timeout},
        **sections,
    )


@pytest.fixture(scope="module")
def want(forge, toy_site, faults_site, tmp_path_factory):
    """What the run leaves without a fault."""
    folder = tmp_path_factory.mktemp("undisturbed")
    guardcore = Guardcore(forge, folder, toy_site, faults_site)
    run = start_together(guardcore, 2, "train", config_with(folder), "--out", folder / "run")
    assert [process.code for process in run.wait()] == [0, 0]
    return whole(folder / "run")


def error(process):
    """The one line that a process ends with."""
    assert process.code == 2, process.err
    assert process.err.startswith("error: ")
    assert process.err.count("\n") == 1, process.err
    return process.err.removeprefix("error: ").rstrip("\n")


def ended(processes, limit):
    """Wait for all within the limit; none of theirs is left."""
    start = time.monotonic()
    said = processes.wait()
    assert time.monotonic() - start < limit + LEAVING
    assert processes.orphans() == []
    return said


def goes_on(together, run, want):
    """What was saved is whole; nobody holds the directory; two go on, and end as undisturbed."""
    assert checkpoints(run) == [1, 2]
    checkpoint.find(run / "checkpoints")[-1].load()
    done = together(2, "train", "--resume", "--out", run).wait()
    assert [process.code for process in done] == [0, 0], done
    assert whole(run) == want
    assert left_over(run) == []


@pytest.mark.parametrize(
    ("fault", "rank"),
    [(fault, rank) for fault in LINES for rank in (0, 1) if (fault, rank) != ("full-disk", 1)],
)
def test_the_one_that_has_it_names_it_and_the_other_says_where_it_waited(
    together, tmp_path, want, fault, rank
):
    run = tmp_path / "run"
    processes = together(2, "train", config_with(tmp_path, fault, rank), "--out", "run")
    said = ended(processes, TIMEOUT)
    if fault == "kill":
        assert said[rank].code == -signal.SIGKILL
        assert (run / ".holder").exists() == (rank == 0)  # the lock itself is gone with it
    else:
        assert re.fullmatch(LINES[fault], error(said[rank]))
        assert not (run / ".holder").exists()
    assert re.fullmatch(VAIN.format(1 - rank, "it ended"), error(said[1 - rank]))
    goes_on(together, run, want)


@pytest.mark.parametrize("dead", [0, 1])
def test_one_killed_within_a_call_of_a_shared_out_model(together, tmp_path, dead):
    # the other waits for its part of a block: an exchange of torch's own, in no phase of ours
    backbone = {"use": "faulty-toy", "rank": dead, "kill_at": 43}
    config = write_config(
        tmp_path,
        backbone=backbone,
        prompts={"train": "words", "eval": None},
        train={"iterations": 4},
        distributed={"timeout": TIMEOUT, "shard": "blocks"},
    )
    said = ended(together(2, "train", config, "--out", "run"), TIMEOUT)
    assert said[dead].code == -signal.SIGKILL
    line = error(said[1 - dead])
    assert re.fullmatch(VAIN.format(1 - dead, "it ended"), line)
    assert "'calling the model'" in line
    saved = checkpoint.find(tmp_path / "run" / "checkpoints")[-1]
    saved.load()
    assert saved.iteration == 2


@pytest.mark.parametrize("limit", [600.0, None])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_reward_may_not_hang_for_longer_than_the_other_waits(
    together, tmp_path, want, rank, limit
):
    config = config_with(tmp_path, "hang-with-a-child", rank, timeout=4, limit=limit)
    said = ended(together(2, "train", config, "--out", "run"), 4)
    assert re.fullmatch(
        r"reward 'faulty' has not answered for 4 s \(distributed\.timeout\); .*", error(said[rank])
    )
    # whichever began to wait first ends first
    ways = r"(none came within 4 s \(distributed\.timeout\)|it ended)"
    assert re.fullmatch(VAIN.format(1 - rank, ways), error(said[1 - rank]))
    goes_on(together, tmp_path / "run", want)


def test_another_writer_is_refused_and_the_run_undisturbed(together, guardcore, tmp_path, want):
    config = config_with(tmp_path, limit=60.0)
    tree = yaml.safe_load(config.read_text())
    tree["reward"][0]["seconds"] = 2.0  # long enough for two that begin meanwhile
    config.write_text(yaml.safe_dump(tree))
    first = together(2, "train", config, "--out", "run")
    wait_for_checkpoint(tmp_path / "run", 1)
    alone = guardcore("train", config, "--resume", "--out", "run")
    others = together(2, "train", config, "--resume", "--out", "run").wait()
    refused = f"run is being written by process {first[0].pid} on "
    assert error(alone).startswith(refused)
    assert error(others[0]).startswith(refused)
    assert (others[1].code, others[1].err) == (2, "")
    assert [process.code for process in first.wait()] == [0, 0]
    assert whole(tmp_path / "run") == want


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_while_a_checkpoint_is_written_leaves_it_whole(together, tmp_path, want, rank):
    run = tmp_path / "run"
    slow_disk = [{"use": "faulty-tracker", "slow_disk": 0.2}]
    processes = together(2, "train", config_with(tmp_path, tracker=slow_disk), "--out", "run")
    wait_for_checkpoint(run, 1)
    while not (run / ".writing").is_dir():
        time.sleep(0.001)
    processes[rank].signal(signal.SIGTERM)
    said = ended(processes, TIMEOUT)
    assert [process.code for process in said] == [GO_ON, GO_ON]
    last = metrics(run)[-1]["iteration"]
    assert last < 4
    assert f"stopped by SIGTERM after iteration {last}; go on with" in said[0].err
    assert checkpoints(run)[-1] == last
    checkpoint.find(run / "checkpoints")[-1].load()
    assert left_over(run) == []
    assert [p.code for p in together(2, "train", "--resume", "--out", "run").wait()] == [0, 0]
    assert whole_state(run) == {k: v for k, v in want.items() if k != "checkpoints"}
