"""A recorded iteration is what its updates saw, to the last bit, and costs nothing when off."""

import shutil

import pytest
import torch

from guardcore import Condition, GuardcoreError, Prompt, Schedule, Transition
from guardcore.calibration import Calibrator
from guardcore.errors import CheckpointError
from guardcore.ranks import Ranks
from guardcore.recording import Tape, find_recording, recorded_iterations
from guardcore.sampling import Sampled
from guardcore.trajectory import TakenStep, Trajectory
from guardcore.weighing import Weighed
from runs import left_over, rows, run, state, whole
from toy import ToyBackbone, ToyOptions, toy_host

ALL = {"record": {"iterations": 99}}
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("iterations", "number", "expected"),
    [
        (90, 3, {30, 60, 90}),
        (90, 1, {90}),
        (90, 0, set()),
        (10, 3, {3, 6, 10}),
        (7, 4, {1, 3, 5, 7}),
        (2, 5, {1, 2}),
        (1, 1, {1}),
    ],
)
def test_recordings_are_spread_evenly_and_the_last_iteration_is_one(iterations, number, expected):
    assert recorded_iterations(iterations, number) == expected


def trajectory(first, groups=(3, 2), steps=3):
    """Random steps that share their latents; conditions in other precisions, a prompt a group."""
    batch, made = sum(groups), []
    schedule = Schedule(torch.linspace(1, 0, steps + 2))
    x = torch.randn(batch, 2, 4)
    for index in range(steps):
        step, x_next = schedule.step(index, batch), torch.randn_like(x)
        old = Transition(torch.randn_like(x), step.sigma, torch.rand(1).expand(batch))
        made.append(TakenStep(step, x, x_next, old, torch.bfloat16))
        x = x_next
    place = torch.tensor([g for g, size in enumerate(groups) for _ in range(size)])
    prompt = torch.randn(len(groups), 7, 5).bfloat16()[place]
    condition = Condition({"prompt": prompt, "length": place}, 16, 24)
    return Trajectory(range(first, first + batch), condition, made, range(steps))


def tensors(kept):
    found = []
    for taken in kept.steps:
        taken.each(lambda tensor: found.append(tensor) or tensor)
    return [*found, *(tensor for _, tensor in sorted(kept.condition.tensors.items()))]


@pytest.fixture
def played(tmp_path):
    """Two micro-batches on tape, two updates that share them, and the recording of it."""
    batches = [trajectory(0), trajectory(5, groups=(1, 4))]
    weights = {"w": torch.randn(3, 2)}
    rewards, advantages = {"a/b": torch.randn(10)}, torch.randn(10, 1).expand(-1, 3)
    prompts = [Prompt(f"{n} circles", {"count": n, "at": (1, 2)}) for n in range(10)]
    tape, seen = Tape(tmp_path / "recordings", 7, Calibrator([])), []
    for part in (range(1), range(1, 2)):
        tape.before_update(part, weights)
        seen.append(weights["w"].clone())
        weights["w"].add_(1)
    counted = torch.arange(10) != 4
    pieces = Ranks().deal([batch.samples for batch in batches])
    sampled = Sampled(range(3), pieces, batches, prompts, rewards, torch.zeros(10, 3), counted)
    tape.write(weights, sampled, Weighed(advantages, counted))
    seen.append(weights["w"])
    return batches, seen, rewards, advantages, find_recording(tmp_path / "recordings")


def test_there_and_back_is_equal_to_the_last_bit(played):
    batches, weights, rewards, advantages, recording = played
    assert (recording.iteration, recording.updates) == (7, [[0], [1]])
    for number, before in enumerate(batches):
        after = recording.trajectory(number, CPU).onload()
        assert (after.samples, list(after.indices)) == (before.samples, list(before.indices))
        assert (after.condition.height, after.condition.width) == (16, 24)
        pairs = list(zip(tensors(after), tensors(before), strict=True))
        assert len(pairs) == 3 * 8 + 2
        assert all(torch.equal(one, other) and one.dtype == other.dtype for one, other in pairs)
        for now, then in zip(after.steps, before.steps, strict=True):
            assert (now.precision, now.step.sigma_max) == (torch.bfloat16, then.step.sigma_max)
    assert torch.equal(recording.weighed.advantages, advantages)
    assert recording.weighed.counted.tolist() == [True] * 4 + [False] + [True] * 5
    assert torch.equal(recording.rewards["a/b"], rewards["a/b"])
    assert recording.prompts[3] == Prompt("3 circles", {"count": 3, "at": [1, 2]})
    found = [recording.weights(update)["w"] for update in (1, 2, 3)]
    assert all(torch.equal(one, other) for one, other in zip(found, weights, strict=True))


def test_what_steps_and_samples_share_is_written_once(played):
    batches, *_, recording = played
    stored = recording.stored.tensors("batch-0000")
    # S steps have S + 1 latents and S means, a group one condition
    latents = [
        name for name, tensor in stored.items() if tensor.shape == batches[0].steps[0].x.shape
    ]
    assert len(latents) == 3 + 1 + 3
    assert len(stored["condition.prompt"]) == 2
    kept = recording.trajectory(0, CPU)
    for now, then in zip(kept.steps, kept.steps[1:], strict=False):
        assert now.x_next is then.x


def test_a_damaged_recording_is_named(played):
    recording = played[-1]
    path = recording.stored.path / "batch-0001.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"iteration-000007: batch-0001.* has been altered"):
        recording.trajectory(1, CPU)


def recorded(directory):
    return sorted(int(path.name[-6:]) for path in (directory / "recordings").iterdir())


def contents(directory):
    return {
        (path.parent.name, path.name): path.read_bytes()
        for path in (directory / "recordings").rglob("*.safetensors")
    }


def test_a_run_records_the_weights_around_each_update(tmp_path):
    run(tmp_path, **ALL, train={"iterations": 3, "updates_per_iteration": 2})
    assert recorded(tmp_path) == [1, 2, 3]
    found = [find_recording(tmp_path / "recordings", i) for i in (1, 2, 3)]
    assert torch.equal(found[0].weights(1)["target"], torch.zeros(3))
    for now, then in zip(found, found[1:], strict=False):
        assert torch.equal(now.weights(3)["target"], then.weights(1)["target"])
        assert not torch.equal(now.weights(1)["target"], now.weights(2)["target"])
    assert torch.equal(found[-1].weights(3)["target"], state(tmp_path)["weights.target"])
    assert [len(prompt.text) for prompt in found[0].prompts][::5] != [0, 0, 0]
    assert len(found[0].prompts) == len(found[0].weighed.advantages) == 15
    assert left_over(tmp_path) == []


def test_shares_are_recorded_as_they_were_dealt(tmp_path):
    run(tmp_path, **ALL, train={"iterations": 1, "samples_per_update": "share"})
    assert find_recording(tmp_path / "recordings").updates == [[0, 1], [2, 3]]


def test_recording_leaves_the_run_as_it_is_and_off_writes_nothing(tmp_path):
    for name, number in (("on", 2), ("off", 0)):
        run(tmp_path / name, record={"iterations": number})
    assert whole(tmp_path / "on") == whole(tmp_path / "off")
    assert recorded(tmp_path / "on") == [1, 3]
    assert not (tmp_path / "off" / "recordings").exists()


def test_a_resumed_run_drops_what_came_after_its_checkpoint_and_records_it_again(tmp_path):
    settings = {**ALL, "train": {"iterations": 4}, "evaluate": {"every": 1}}
    run(tmp_path / "whole", **settings)
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    for iteration in (3, 4):
        shutil.rmtree(tmp_path / "resumed" / "checkpoints" / f"iteration-{iteration:06d}")
    stale = tmp_path / "resumed" / "recordings" / "iteration-000009"
    shutil.copytree(stale.with_name("iteration-000004"), stale)
    for number in (3, 4):
        (stale.with_name(f"iteration-{number:06d}") / "state.json").write_text("{")
    assert run(tmp_path / "resumed", resume=True, **settings).finished
    assert recorded(tmp_path / "resumed") == [1, 2, 3, 4]
    assert contents(tmp_path / "resumed").keys() == contents(tmp_path / "whole").keys()
    for iteration in (2, 3, 4):
        one, other = (
            find_recording(tmp_path / name / "recordings", iteration)
            for name in ("resumed", "whole")
        )
        assert torch.equal(one.weights(3)["target"], other.weights(3)["target"])
        pairs = zip(tensors(one.trajectory(0, CPU)), tensors(other.trajectory(0, CPU)), strict=True)
        assert all(torch.equal(here, there) for here, there in pairs)


def test_a_finished_run_goes_on_with_other_recordings(tmp_path):
    run(tmp_path, train={"iterations": 2})
    run(tmp_path, resume=True, train={"iterations": 4}, record={"iterations": 4})
    assert recorded(tmp_path) == [3, 4]


def test_out_of_memory_the_iteration_is_recorded_as_it_went_in_the_end(tmp_path):
    class Small(ToyBackbone):
        def velocity(self, x, sigma, condition):
            if len(x) > 4 and torch.is_grad_enabled() and torch.any(self.target != 0):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
            return super().velocity(x, sigma, condition)

    def small(options: ToyOptions):
        return Small(options)

    rollout = {"batch_size": 8}  # fails in the second update of the first iteration
    host = toy_host(small=("backbones", small))
    run(tmp_path, host=host, backbone="small", rollout=rollout, train={"iterations": 1}, **ALL)
    recording = find_recording(tmp_path / "recordings")
    assert recording.updates == [[0, 1, 2, 3]] * 2
    assert torch.equal(recording.weights(1)["target"], torch.zeros(3))
    assert len(rows(tmp_path, "steps")) == 2 * 3


def test_a_place_that_cannot_be_written_ends_the_run_in_one_line(tmp_path):
    run(tmp_path, train={"iterations": 1})
    (tmp_path / "recordings").write_text("a file of the user's")
    with pytest.raises(CheckpointError, match=r"cannot write .*recordings.*untouched") as caught:
        run(tmp_path, resume=True, train={"iterations": 2}, **ALL)
    assert "\n" not in str(caught.value)
    assert run(tmp_path, resume=True, train={"iterations": 2}).finished


def test_no_recordings_and_the_wrong_one_are_told_apart(tmp_path):
    with pytest.raises(GuardcoreError, match=r"no recordings; .* guardcore train --record$"):
        find_recording(tmp_path / "recordings")
    run(tmp_path / "run", record={"iterations": 2})
    with pytest.raises(GuardcoreError, match=r"no recording of iteration 2; there are: 1, 3$"):
        find_recording(tmp_path / "run" / "recordings", 2)
