"""Trajectories between rollout and update: in the host's memory, equal to the last bit."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guardcore import Condition, Schedule, Transition
from guardcore.trajectory import Offloaded, TakenStep, Trajectory, distinct_rows
from runs import run, spying_host, whole


def trajectory(device="cpu", groups=(3, 2), steps=3):
    """Random steps that share their latents, and a prompt a group."""
    batch, made = sum(groups), []
    schedule = Schedule(torch.linspace(1, 0, steps + 2, device=device))
    x = torch.randn(batch, 2, 4, device=device)
    for index in range(steps):
        step, x_next = schedule.step(index, batch), torch.randn_like(x)
        old = Transition(torch.randn_like(x), step.sigma, step.dt)
        made.append(TakenStep(step, x, x_next, old, torch.float32))
        x = x_next
    prompts = torch.randn(len(groups), 7, 5, device=device)
    rows = torch.tensor([g for g, size in enumerate(groups) for _ in range(size)])
    negative = torch.randn(1, 7, 5, device=device).expand(batch, 7, 5)
    tensors = {"prompt": prompts[rows.to(device)], "length": rows.to(device), "negative": negative}
    return Trajectory(range(batch), Condition(tensors, 16, 16), made, range(steps))


def tensors(kept):
    found = []
    for taken in kept.steps:
        taken.each(lambda tensor: found.append(tensor) or tensor)
    return [*found, *kept.condition.tensors.values()]


@pytest.mark.parametrize("groups", [(3, 2), (1,), (1, 1, 1), (6,)])
def test_there_and_back_is_equal_to_the_last_bit(groups):
    before = trajectory(groups=groups)
    after = before.offload().onload()
    assert (after.samples, after.indices) == (before.samples, before.indices)
    pairs = list(zip(tensors(after), tensors(before), strict=True))
    assert len(pairs) == 3 * 8 + 3
    assert all(torch.equal(one, other) and one.dtype == other.dtype for one, other in pairs)


def test_a_prompts_condition_is_kept_once():
    kept = trajectory(groups=(3, 2)).offload()
    assert {name: len(tensor) for name, tensor in kept.condition.tensors.items()} == {
        "prompt": 2,
        "length": 2,
        "negative": 2,
    }
    assert all(tensor.is_contiguous() for tensor in kept.condition.tensors.values())


@given(rows=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=12))
def test_distinct_rows_at_their_places_are_the_rows(rows):
    one, two = torch.tensor(rows).T
    condition = Condition({"one": one[:, None].expand(-1, 3), "two": two.double()}, 8, 8)
    distinct, places = distinct_rows(condition)
    assert len(distinct) == 1 + sum(a != b for a, b in zip(rows, rows[1:], strict=False))
    again = distinct.rows(places)
    assert all(torch.equal(again.tensors[n], t) for n, t in condition.tensors.items())


def test_a_condition_without_tensors_stays_one():
    distinct, places = distinct_rows(Condition({}, 8, 8))
    assert (len(distinct.rows(places)), len(places)) == (0, 0)


def test_what_steps_share_is_moved_once_and_shared_there():
    # "meta" stands for another device: tensors there have a place and no content
    kept = trajectory().offload()
    moved = Offloaded(**{**vars(kept), "device": torch.device("meta")}).onload()
    assert {tensor.device.type for tensor in tensors(moved)} == {"meta"}
    for now, then in zip(moved.steps, moved.steps[1:], strict=False):
        assert now.x_next is then.x


def test_a_run_with_trajectories_on_the_host_is_the_same_run(tmp_path):
    for name, offload in (("here", False), ("there", True)):
        host, _ = spying_host()
        rollout = {"offload_trajectories": offload, "batch_size": 7}
        run(tmp_path / name, host=host, backbone="spy", rollout=rollout)
    assert whole(tmp_path / "here") == whole(tmp_path / "there")


@pytest.mark.gpu
def test_an_accelerators_memory_is_free_between_rollout_and_update():
    before = trajectory("cuda", groups=(8, 8))
    content = [tensor.cpu() for tensor in tensors(before)]
    full = torch.cuda.memory_allocated()
    kept = before.offload()
    assert {tensor.device.type for tensor in tensors(kept)} == {"cpu"}
    for now, then in zip(kept.steps, kept.steps[1:], strict=False):
        assert now.x_next is then.x
    del before
    assert torch.cuda.memory_allocated() < full / 10
    back = tensors(kept.onload())
    assert {tensor.device.type for tensor in back} == {"cuda"}
    assert all(torch.equal(b.cpu(), c) for b, c in zip(back, content, strict=True))
