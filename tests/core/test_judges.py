"""Rewards beside the sampling: whose score is whose, when it fails, when it ends."""

import os
import random
import subprocess
import sys
import threading
import time

import pytest
import torch

from guardcore import Prompt
from guardcore.clock import Clock
from guardcore.errors import ComponentError
from guardcore.judges import IN_FLIGHT, Judges


def batch(first, size):
    """Images that hold their own numbers, and prompts that say them."""
    numbers = range(first, first + size)
    images = torch.tensor(numbers).float()[:, None, None, None].expand(-1, 3, 2, 2)
    return images, [Prompt(str(number)) for number in numbers]


def number(images, prompts):
    assert [int(prompt.text) for prompt in prompts] == images[:, 0, 0, 0].tolist()
    return images[:, 0, 0, 0].double()


def scored(rewards, sizes, clock=None):
    with Judges(rewards) as judges, judges.session(list(rewards), clock or Clock()) as session:
        for place, size in enumerate(sizes):
            session.submit(*batch(sum(sizes[:place]), size))
        return session.collect()


@pytest.mark.parametrize("seed", range(5))
def test_every_score_belongs_to_its_image_whatever_a_call_takes(seed):
    chance = random.Random(seed)
    sizes = [chance.randint(1, 4) for _ in range(12)]

    def dawdling(images, prompts):
        time.sleep(chance.choice([0, 0.001, 0.01]))
        return number(images, prompts)

    found = scored({"a": dawdling, "b": lambda i, p: -dawdling(i, p), "c": number}, sizes)
    want = list(range(sum(sizes)))
    assert {name: values.tolist() for name, values in found.items()} == {
        "a": want,
        "b": [-value for value in want],
        "c": want,
    }


def test_a_reward_is_never_called_twice_at_a_time_and_two_rewards_are_side_by_side():
    busy, most = {"a": 0, "b": 0}, {"a": 0, "b": 0, "both": 0}
    lock = threading.Lock()

    def reward(name):
        def judge(images, prompts):
            with lock:
                busy[name] += 1
                most[name] = max(most[name], busy[name])
                most["both"] = max(most["both"], sum(busy.values()))
            time.sleep(0.01)
            with lock:
                busy[name] -= 1
            return number(images, prompts)

        return judge

    scored({"a": reward("a"), "b": reward("b")}, [2] * 6)
    assert most == {"a": 1, "b": 1, "both": 2}


def test_waiting_is_only_for_what_the_sampling_did_not_cover():
    clock = Clock()

    def slow(images, prompts):
        time.sleep(0.02)
        return number(images, prompts)

    with Judges({"slow": slow}) as judges, judges.session(["slow"], clock) as session:
        for place in range(10):
            time.sleep(0.03)  # sampling
            session.submit(*batch(place, 1))
        session.collect()
    lap = clock.lap()
    assert lap["seconds/reward/slow"] >= 0.2
    assert lap["seconds/waiting"] < 0.1  # 0.02 and what a busy machine adds, not 0.2


def test_no_more_than_a_few_micro_batches_wait_for_a_reward():
    gate, started = threading.Event(), []

    def shut(images, prompts):
        started.append(len(images))
        gate.wait(10)
        return number(images, prompts)

    with Judges({"shut": shut}) as judges, judges.session(["shut"], Clock()) as session:
        for place in range(IN_FLIGHT):
            session.submit(*batch(place, 1))
        timer = threading.Timer(0.1, gate.set)
        timer.start()
        start = time.monotonic()
        session.submit(*batch(IN_FLIGHT, 1))  # one too many: waits for the first
        assert time.monotonic() - start > 0.05
        assert session.collect()["shut"].tolist() == list(range(IN_FLIGHT + 1))


def test_the_first_failing_micro_batch_is_the_one_that_is_reported():
    def fails_late(images, prompts):
        if int(prompts[0].text) == 2:
            time.sleep(0.05)
            raise RuntimeError("second")
        return number(images, prompts)

    def fails_early(images, prompts):
        if int(prompts[0].text) == 4:
            raise RuntimeError("third")
        return number(images, prompts)

    with pytest.raises(ComponentError, match="reward 'a' raised RuntimeError: second.*'2'"):
        scored({"a": fails_late, "b": fails_early}, [2, 2, 2])


def test_a_failure_surfaces_before_all_is_sampled():
    submitted = []

    def broken(images, prompts):
        raise RuntimeError("no")

    with (
        pytest.raises(ComponentError, match="no"),
        Judges({"broken": broken}) as judges,
        judges.session(["broken"], Clock()) as session,
    ):
        for place in range(100):
            session.submit(*batch(place, 1))
            submitted.append(place)
    assert len(submitted) <= IN_FLIGHT


def test_what_nobody_waits_for_is_called_off_and_the_call_at_work_ends_before_the_end():
    calls, ended = [], []

    def slow(images, prompts):
        calls.append(prompts[0].text)
        time.sleep(0.05)
        ended.append(prompts[0].text)
        return number(images, prompts)

    with (
        pytest.raises(ZeroDivisionError),
        Judges({"slow": slow}) as judges,
        judges.session(["slow"], Clock()) as session,
    ):
        for place in range(4):
            session.submit(*batch(place, 1))
        while not calls:
            time.sleep(0.001)
        raise ZeroDivisionError
    assert calls == ended == ["0"]


def test_after_a_failed_session_the_next_one_is_served():
    calls = []

    def once_broken(images, prompts):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("first call")
        return number(images, prompts)

    with Judges({"mine": once_broken}) as judges:
        with pytest.raises(ComponentError), judges.session(["mine"], Clock()) as session:
            session.submit(*batch(0, 2))
            session.collect()
        with judges.session(["mine"], Clock()) as session:
            session.submit(*batch(5, 2))
            assert session.collect()["mine"].tolist() == [5, 6]


def test_a_keyboard_interrupt_does_not_wait_for_a_reward_that_hangs():
    hang = threading.Event()

    def hanging(images, prompts):
        hang.wait(30)
        return number(images, prompts)

    start = time.monotonic()
    with (
        pytest.raises(KeyboardInterrupt),
        Judges({"hanging": hanging}) as judges,
        judges.session(["hanging"], Clock()) as session,
    ):
        session.submit(*batch(0, 1))
        raise KeyboardInterrupt
    assert time.monotonic() - start < 5
    hang.set()


def test_images_are_let_go_as_soon_as_they_are_scored():
    import weakref

    with Judges({"mine": number}) as judges, judges.session(["mine"], Clock()) as session:
        images, prompts = batch(0, 2)
        held = weakref.ref(images)
        session.submit(images, prompts)
        del images
        session.collect()
        assert held() is None


def test_on_a_cpu_a_judge_has_one_thread_and_the_sampling_keeps_its_own():
    """In a process of its own: a number of threads is settled by the first that asks."""
    script = """
import torch
from guardcore.clock import Clock
from guardcore.judges import Judges
from guardcore import Prompt
seen = []
def reward(images, prompts):
    seen.append(torch.get_num_threads())
    return torch.zeros(len(images))
with Judges({"a": reward}) as judges, judges.session(["a"], Clock()) as session:
    session.submit(torch.zeros(1, 3, 8, 8), [Prompt("x")])
    session.collect()
print(seen, torch.get_num_threads())
"""
    environment = os.environ | {"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert done.stdout.split() == ["[1]", "2"], done.stderr
