"""A reward that hangs: the run ends in time, says so in a line, and takes its processes along."""

import os
import re
import threading
import time

import pytest
import torch
import yaml

from guardcore import Prompt
from guardcore.clock import Clock
from guardcore.errors import ComponentError, RewardTimeoutError
from guardcore.judge import at_work, close
from guardcore.judges import Judges
from runs import checkpoints, run, whole
from toy import toy_tree

LIMIT = 0.3
IMAGES = torch.zeros(2, 3, 2, 2)
PROMPTS = [Prompt("first"), Prompt("second")]


class Hanging:
    """Hangs at its ``at``-th call until it is closed, or for good."""

    def __init__(self, at=1, deaf=False):
        self.at, self.deaf, self.calls, self.closed = at, deaf, 0, threading.Event()

    def __call__(self, images, prompts):
        self.calls += 1
        if self.calls == self.at:
            self.closed.wait(30)
        return torch.zeros(len(prompts))

    def close(self):
        if self.deaf:
            threading.Event().wait(30)
        self.closed.set()


def ask(times, **rewards):
    judges = Judges(rewards, LIMIT)
    with judges, judges.session(list(rewards), Clock()) as session:
        for _ in range(times):
            session.submit(IMAGES, PROMPTS)
        return session.collect()


@pytest.mark.parametrize("at", [1, 3])
def test_a_call_that_takes_too_long_names_the_reward_and_the_prompt(at):
    reward, start = Hanging(at), time.monotonic()
    with pytest.raises(
        RewardTimeoutError, match=r"reward 'mine' .* 0\.3 s .*reward_timeout.*2 prompts was 'first'"
    ):
        ask(4, mine=reward)
    assert time.monotonic() - start < 10
    reward.close()


def test_many_calls_may_take_longer_together_than_one_may():
    def quick(images, prompts):
        time.sleep(LIMIT / 3)
        return torch.zeros(len(prompts))

    scores = ask(8, quick=quick)
    assert len(scores["quick"]) == 8 * len(PROMPTS)


def test_a_reward_that_fails_does_not_wait_for_one_that_hangs():
    def broken(images, prompts):
        raise RuntimeError("no")

    hanging, start = Hanging(), time.monotonic()
    with pytest.raises(ComponentError, match="'broken' raised RuntimeError"):
        ask(1, broken=broken, hanging=hanging)
    assert time.monotonic() - start < 10
    hanging.close()


def test_a_call_of_an_earlier_session_that_hangs_is_held_against_the_reward():
    # as where the memory was too small, and the iteration is done again
    reward = Hanging()
    with pytest.raises(RewardTimeoutError, match="'mine'"), Judges({"mine": reward}, LIMIT) as both:
        with both.session(["mine"], Clock()) as session:
            session.submit(IMAGES, PROMPTS)
        with both.session(["mine"], Clock()) as session:
            session.submit(IMAGES, PROMPTS)
            session.collect()
    reward.close()


def test_without_a_limit_it_is_waited_for():
    reward = Hanging()
    threading.Timer(2 * LIMIT, reward.close).start()
    with Judges({"mine": reward}) as judges, judges.session(["mine"], Clock()) as session:
        session.submit(IMAGES, PROMPTS)
        assert session.collect()["mine"].tolist() == [0, 0]


@pytest.mark.parametrize("deaf", [False, True])
def test_one_that_hangs_is_closed_beside_its_call_and_not_waited_for(deaf):
    reward = Hanging(deaf=deaf)
    with pytest.raises(RewardTimeoutError):
        ask(1, mine=reward)
    assert reward in [judge.reward for judge in at_work()]
    start = time.monotonic()
    close(reward)
    assert time.monotonic() - start < 10
    assert reward.closed.wait(0) is not deaf
    reward.closed.set()


def test_a_limit_may_change_when_a_run_goes_on(tmp_path):
    run(tmp_path, train={"iterations": 1})
    limited = {"rollout": {"reward_timeout": 60.0}, "train": {"iterations": 2}}
    assert run(tmp_path, resume=True, **limited).iteration == 2


# Whole processes: 4 micro-batches an iteration, and no evaluation


def tree(fault):
    return toy_tree(
        reward=[{"use": "faulty", "fault": fault, "at": 10}],
        prompts={"train": "words", "eval": None},
        rollout={"reward_timeout": 1.0},
    )


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "zombie" not in open(f"/proc/{pid}/status").read()


@pytest.mark.parametrize("fault", ["hang", "hang-in-a-pool", "hang-with-a-child"])
def test_the_run_ends_in_time_with_a_line_and_a_checkpoint_and_no_process_is_left(
    faulty, tmp_path, undisturbed, fault
):
    want, _ = undisturbed({**tree("none"), "rollout": tree(fault)["rollout"]})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree(fault)))
    start = time.monotonic()
    done = faulty("train", "config.yaml", "--out", "run")
    assert time.monotonic() - start < 40  # the limit of 1 s, and a busy machine
    assert done.code == 2
    assert re.fullmatch(
        r"error: reward 'faulty' has not answered for 1 s \(rollout\.reward_timeout\); "
        r"the first of \d prompts was 'w+'; mend it, then go on with --resume\n",
        done.err,
    )
    assert checkpoints(tmp_path / "run") == [1, 2]
    assert "RewardTimeoutError" in (tmp_path / "run" / "error.log").read_text()
    if fault == "hang-with-a-child":
        assert not alive(int((tmp_path / "child.pid").read_text()))
    # two calls of the third iteration are left: what is asked for again comes before the fault
    assert faulty("train", "--out", "run", "--resume").code == 0
    assert whole(tmp_path / "run")["state"] == want["state"]
