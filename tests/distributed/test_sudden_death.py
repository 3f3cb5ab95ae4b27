"""kill -9 to one process of several, or to all: the others end, and the run goes on."""

import json
import random
import re
import signal
import time

import pytest

from launch import write_config
from runs import left_over, lost, metrics, state, wait_for_checkpoint, whole

TIMEOUT = 10
"""Seconds that one waits for another; those that have not met yet use it up."""

LEAVING = 40
"""Seconds that a process may take over its own end, on a busy machine."""

ITERATIONS = 6

IN_VAIN = re.compile(
    r"error: (process \d of \d waited in vain for another in phase '[\w ,-]+': .+"
    r"|\d processes were announced \(WORLD_SIZE\), and this one, RANK \d, has not found them .+)"
)


def everything(folder):
    """All that a run of several can hold between two iterations, on a disk that is slow to sync.

    Refilled groups (the reward has few levels), a clip that calibrates itself, a random window,
    averages, gold and the best checkpoint.
    """
    return write_config(
        folder,
        reward=[{"use": "faulty", "levels": 6}, {"use": "brightness", "weight": 0}],
        rollout={
            "groups": 3,
            "group_size": 3,
            "batch_size": 2,
            "refill": 2,
            "train_steps": {"size": 2, "choose": "random"},
        },
        ratio=["ratio-norm", {"use": "ppo-clip", "range": "auto"}],
        gradient_weight=["inverse-dt"],
        train={
            "iterations": ITERATIONS,
            "ema_decay": 0.9,
            "ema_every": 2,
            "step_gradients_every": 3,
        },
        evaluate={"every": 2, "num_images": 3, "grid": 1, "kl_images": 2},
        watch={"keep_best": True, "window": 2},
        checkpoint={"every": 1, "keep": 1},
        tracker=[{"use": "faulty-tracker", "slow_disk": 0.01}],
        distributed={"timeout": TIMEOUT},
    )


def kill(processes, ranks):
    """Kill ``ranks``; the others end in time, in good order or with a line; no process is left.

    Before that line torch may have logged that nobody answers where the processes meet. Return how
    many of ``ranks`` were still there, and whether the run is finished.
    """
    begun = time.monotonic()
    for rank in ranks:
        processes[rank].signal(signal.SIGKILL)
    ended = processes.wait()
    assert time.monotonic() - begun < TIMEOUT + LEAVING
    assert processes.orphans() == []
    for rank, process in enumerate(ended):
        if process.code == 2:
            (line,) = (line for line in process.err.splitlines() if line.startswith("error:"))
            assert IN_VAIN.fullmatch(line)
            assert "Traceback" not in process.err
        else:
            assert process.code == 0 or (process.code == -signal.SIGKILL and rank in ranks), ended
    return sum(process.code == -signal.SIGKILL for process in ended), ended[0].code == 0


@pytest.mark.usefixtures("faulty")
@pytest.mark.parametrize("times", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_of_two_one_or_both_killed_at_random_moments_the_run_ends_as_if_undisturbed(
    together, tmp_path, times
):
    train = ("train", everything(tmp_path), "--resume", "--out")
    start, processes = time.monotonic(), together(2, *train, tmp_path / "undisturbed")
    wait_for_checkpoint(tmp_path / "undisturbed", ITERATIONS)
    seconds = time.monotonic() - start  # later moments are met, too: what is resumed ends earlier
    assert [process.code for process in processes.wait()] == [0, 0]
    chance, killed, finished = random.Random(0), 0, 0
    while killed < times:
        folder = tmp_path / f"run-{finished}"
        processes = together(2, *train, folder)
        time.sleep(chance.uniform(0, seconds))
        hit, done = kill(processes, chance.choice([(0,), (1,), (0, 1)]))
        killed += hit > 0
        finished += done
        assert lost(folder) <= 1
    ended = together(2, *train, tmp_path / f"run-{finished}").wait()
    assert [process.code for process in ended] == [0, 0], ended
    want = whole(tmp_path / "undisturbed")
    for number in range(finished + 1):
        assert whole(tmp_path / f"run-{number}") == want
        assert left_over(tmp_path / f"run-{number}") == []


@pytest.mark.usefixtures("faulty")
@pytest.mark.parametrize(
    "worlds", [(2, 1, 3), pytest.param((2, 1, 3) * 4, marks=pytest.mark.slow)], ids=len
)
def test_killed_and_resumed_with_another_number_it_ends_with_the_same_weights(
    together, tmp_path, worlds
):
    config = write_config(
        tmp_path,
        reward=["colour"],
        train={"iterations": len(worlds) + 2},
        checkpoint={"every": 1, "keep": 2},
        tracker=[{"use": "faulty-tracker", "slow_disk": 0.05}],
        distributed={"timeout": TIMEOUT},
    )
    assert [p.code for p in together(2, "train", config, "--out", "undisturbed").wait()] == [0, 0]
    chance, run = random.Random(0), tmp_path / "run"
    for iteration, world in enumerate(worlds, 1):
        processes = together(world, "train", config, "--resume", "--out", run)
        wait_for_checkpoint(run, iteration)
        time.sleep(chance.uniform(0, 0.1))
        hit, _ = kill(processes, chance.sample(range(world), chance.randint(1, world)))
        assert hit
        assert lost(run) <= 1
        assert json.loads((run / "manifest.json").read_text())["processes"] == world
    assert [p.code for p in together(2, "train", config, "--resume", "--out", run).wait()] == [0, 0]
    ours, theirs = state(tmp_path / "undisturbed"), state(run)
    assert ours.keys() == theirs.keys()
    for name in ("weights.target", "ema.target"):
        assert (ours[name] - theirs[name]).norm() <= 1e-5 * ours[name].norm() > 0
    assert [row["iteration"] for row in metrics(run)] == list(range(len(worlds) + 3))
    assert left_over(run) == []
