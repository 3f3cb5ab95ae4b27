"""The thread behind a served reward: batches, their limits, and whose fault stays whose."""

import threading

import pytest
import torch

from guardcore import Prompt
from guardcore_plugins.serving.worker import Job, Worker


class Judge:
    """Mean brightness; a prompt 'bad' makes it fail. Waits for ``gate`` before each call."""

    def __init__(self):
        self.gate, self.calls, self.closed = threading.Event(), [], 0
        self.gate.set()

    def __call__(self, images, prompts):
        self.gate.wait(10)
        self.calls.append(len(images))
        if any(prompt.text == "bad" for prompt in prompts):
            raise ValueError("a bad prompt")
        return images.mean((1, 2, 3)).double()

    def close(self):
        self.closed += 1


def score(reward, images, prompts):
    return reward(images, prompts)


@pytest.fixture
def judge():
    return Judge()


@pytest.fixture
def worker(judge):
    states, ready = [], threading.Event()

    def changed(state):
        states.append(state)
        ready.set()

    worker = Worker(lambda: judge, score, 4, changed)
    worker.start()
    assert ready.wait(10)  # it has warmed the judge: the gate is the test's now
    judge.calls.clear()
    yield worker
    judge.gate.set()
    worker.stop(10)
    assert states[-1] == "stopped"
    assert judge.closed == 1


def job(*values, text="", size=2):
    images = torch.tensor(values)[:, None, None, None].expand(-1, 3, size, size).contiguous()
    return Job(images, [Prompt(text)] * len(values))


def answers(*jobs):
    return [job.answer.result(10) for job in jobs]


def submit_together(judge, worker, *jobs):
    """Have them wait side by side behind a first one."""
    judge.gate.clear()
    first = job(0.0)
    for one in (first, *jobs):
        worker.submit(one)
        if one is first:
            while not first.answer.running():
                pass
    judge.gate.set()
    assert answers(first) == [[0.0]]


def test_waiting_requests_are_scored_together_and_get_their_own(judge, worker):
    jobs = [job(0.25), job(0.5, 0.75), job(1.0)]
    submit_together(judge, worker, *jobs)
    assert answers(*jobs) == [[0.25], [0.5, 0.75], [1.0]]
    assert judge.calls[-1] == 4


def test_a_batch_is_never_larger_than_it_may_be(judge, worker):
    jobs = [job(0.25, 0.5, 0.75), job(1.0, 0.0), job(*[0.5] * 9)]
    submit_together(judge, worker, *jobs)
    assert answers(*jobs) == [[0.25, 0.5, 0.75], [1.0, 0.0], [0.5] * 9]
    assert judge.calls[-5:] == [3, 2, 4, 4, 1]


def test_images_of_another_size_are_not_joined(judge, worker):
    jobs = [job(0.25), job(0.5, size=3)]
    submit_together(judge, worker, *jobs)
    assert answers(*jobs) == [[0.25], [0.5]]
    assert judge.calls[-2:] == [1, 1]


def test_a_request_that_fails_does_not_spoil_its_neighbours(judge, worker):
    jobs = [job(0.25), job(0.5, text="bad"), job(0.75)]
    submit_together(judge, worker, *jobs)
    assert answers(jobs[0], jobs[2]) == [[0.25], [0.75]]
    with pytest.raises(ValueError, match="a bad prompt"):
        jobs[1].answer.result(10)


def test_what_nobody_waits_for_is_not_scored(judge, worker):
    jobs = [job(0.25), job(0.5)]
    jobs[0].answer.cancel()
    submit_together(judge, worker, *jobs)
    assert answers(jobs[1]) == [[0.5]]
    assert judge.calls[-1] == 1


def test_stopping_finishes_what_is_queued(judge, worker):
    jobs = [job(0.25, 0.5, 0.75), job(1.0, 0.0)]
    for one in jobs:
        worker.submit(one)
    worker.stop(10)
    assert [one.answer.result(0) for one in jobs] == [[0.25, 0.5, 0.75], [1.0, 0.0]]


def test_the_reward_is_warm_before_it_is_ready(judge):
    ready = threading.Event()
    worker = Worker(lambda: judge, score, 4, lambda state: ready.set())
    worker.start()
    assert ready.wait(10)
    assert (worker.state, judge.calls) == ("ready", [1])
    worker.stop(10)


def test_a_reward_that_cannot_be_built_says_why():
    states = []

    def build():
        raise RuntimeError("no weights")

    worker = Worker(build, score, 4, states.append)
    worker.start()
    worker.stop(10)
    assert states == ["failed"]
    assert str(worker.error) == "no weights"
