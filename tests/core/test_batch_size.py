"""Memory that is too small: the same update with half the micro-batch, whenever it happens."""

import logging

import pytest
import torch

from guardcore import GuardcoreError, Options
from guardcore.batch_size import BatchSize, with_room
from runs import checkpoints, metrics, rows, run, spying_host, state, target, whole
from toy import Brightness, RewardOptions, ToyBackbone, ToyOptions, toy_host

SECTIONS = {
    "rollout": {"groups": 3, "group_size": 5, "batch_size": 8},
    "train": {"iterations": 4, "updates_per_iteration": 2},
    "prompts": {"eval": None},
}


def small(fits, when=lambda call: True, where="velocity"):
    """A toy in which more than ``fits`` rows are too many, at the calls that ``when`` picks.

    A call is ``(number of calls with these rows or more, whether gradients are on)``.
    """
    large = []

    class Small(ToyBackbone):
        def _allocate(self, count):
            if count > fits:
                large.append(1)
                if when((len(large), torch.is_grad_enabled())):
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        def velocity(self, x, sigma, condition):
            if where == "velocity":
                self._allocate(len(x))
            return super().velocity(x, sigma, condition)

        def decode(self, x, condition):
            if where == "decode":
                self._allocate(len(x))
            return super().decode(x, condition)

    def factory(options: ToyOptions):
        return Small(options)

    return toy_host(small=("backbones", factory))


MOMENTS = {
    "in the first rollout": {"when": lambda call: not call[1]},
    "in decode": {"where": "decode"},
    "in the first update": {"when": lambda call: call[1]},
    # of the 8 rows' micro-batch: 3 trained steps an update; rows of 8 and of 7 count
    "half way through the first update": {"when": lambda call: call[1] and call[0] >= 12},
    "after a step of the first iteration": {"when": lambda call: call[1] and call[0] >= 16},
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_run_ends_as_if_it_had_begun_with_half_the_batch(tmp_path, moment, caplog):
    host = small(4, **MOMENTS[moment])
    with caplog.at_level(logging.WARNING, "guardcore"):
        run(tmp_path / "halved", host=host, backbone="small", **SECTIONS)
    rollout = {**SECTIONS["rollout"], "batch_size": 4}
    run(tmp_path / "begun", **{**SECTIONS, "rollout": rollout})
    assert whole(tmp_path / "halved") == whole(tmp_path / "begun")
    (line,) = [r.getMessage() for r in caplog.records if "out of memory" in r.getMessage()]
    assert "with 8 images a micro-batch" in line
    assert "with 4" in line
    assert "2.00 GiB" in line
    assert "\n" not in line


def test_a_later_iteration_is_done_again_as_a_whole_and_those_before_stand(tmp_path):
    # an iteration is 4 + 4 calls of rollout and 2·(3 + 3) of update; the third's second update
    late = small(4, when=lambda call: call[0] > 2 * 20 + 8 + 6)
    run(tmp_path / "halved", host=late, backbone="small", **SECTIONS)
    assert [row["batch_size"] for row in metrics(tmp_path / "halved")] == [8, 8, 4, 4]
    numbers = [
        (row["iteration"], row["update"], row["step"]) for row in rows(tmp_path / "halved", "steps")
    ]
    assert numbers == [(i, u, s) for i in range(1, 5) for u in (1, 2) for s in range(3)]
    run(tmp_path / "whole", **SECTIONS)
    for name, tensor in state(tmp_path / "whole", 2).items():
        assert torch.equal(state(tmp_path / "halved", 2)[name], tensor), name
    # float32 sums in another order: no more than rounding
    assert torch.allclose(target(tmp_path / "halved"), target(tmp_path / "whole"), atol=1e-5)


def test_it_halves_until_it_fits(tmp_path):
    run(tmp_path / "halved", host=small(2), backbone="small", **SECTIONS)
    assert [row["batch_size"] for row in metrics(tmp_path / "halved")] == [2] * 4


def test_a_resumed_run_goes_on_with_what_fitted(tmp_path):
    # the resumed process has all the memory in the world, and still the same bits
    short = {**SECTIONS, "train": {**SECTIONS["train"], "iterations": 2}}
    run(tmp_path / "resumed", host=small(4), backbone="small", **short)
    run(tmp_path / "resumed", host=small(99), backbone="small", resume=True, **SECTIONS)
    run(tmp_path / "undisturbed", host=small(4), backbone="small", **SECTIONS)
    assert whole(tmp_path / "resumed") == whole(tmp_path / "undisturbed")
    assert {row["batch_size"] for row in metrics(tmp_path / "resumed")} == {4}


def test_one_image_too_much_is_one_line_with_remedies_and_a_checkpoint_stays(tmp_path):
    late = small(0, when=lambda call: call[0] > 20)
    with pytest.raises(GuardcoreError, match="out of memory with 1 image a micro-batch") as caught:
        run(tmp_path, host=late, backbone="small", **SECTIONS)
    for remedy in ("rollout.height", "rollout.offload_trajectories", "2.00 GiB"):
        assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)
    assert checkpoints(tmp_path) == [1]


def test_stop_stops_at_the_first_one(tmp_path):
    rollout = {**SECTIONS["rollout"], "out_of_memory": "stop"}
    with pytest.raises(GuardcoreError, match="with 8 images.*a smaller rollout.batch_size"):
        run(tmp_path, host=small(4), backbone="small", **{**SECTIONS, "rollout": rollout})


def test_an_evaluation_halves_its_own_batch_and_leaves_the_trainings_alone(tmp_path):
    host, spies = spying_host()
    base = {**SECTIONS, "backbone": "spy", "prompts": {"eval": "words"}}
    evaluate = {"num_images": 6, "guidance_scale": 3.0, "every": 99}

    class Tight(Brightness):
        def __call__(self, images, prompts):
            if images.shape[-1] and len(prompts) == 6:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 MiB.")
            return super().__call__(images, prompts)

    def tight(options: RewardOptions):
        return Tight(options)

    host, spies = spying_host(tight=("rewards", tight))
    run(tmp_path, host=host, reward=["tight"], evaluate=evaluate, **base)
    guided = [len(call["x"]) for call in spies[-1].seen if call["scale"] == 3.0]
    assert set(guided) == {6, 4, 2}  # 6 at once did not fit; 8 // 2, and the rest
    assert {row.get("batch_size", 8) for row in metrics(tmp_path)} == {8}


def test_a_reward_out_of_memory_is_named_in_the_warning(tmp_path, caplog):
    def greedy(options: Options):
        class Greedy(Brightness):
            def __call__(self, images, prompts):
                if len(prompts) > 4:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")
                return super().__call__(images, prompts)

        return Greedy(RewardOptions())

    with caplog.at_level(logging.WARNING, "guardcore"):
        run(tmp_path, host=toy_host(greedy=("rewards", greedy)), reward=["greedy"], **SECTIONS)
    assert any("reward 'greedy'" in r.getMessage() for r in caplog.records)
    assert [row["batch_size"] for row in metrics(tmp_path)] == [4] * 4


def test_a_penalty_out_of_memory_is_no_broken_penalty(tmp_path):
    def large(options: Options):
        def penalty(context):
            if len(context.x_next) > 4:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")
            return torch.zeros_like(context.step.sigma)

        return penalty

    run(tmp_path, host=toy_host(large=("penalties", large)), penalty=["large"], **SECTIONS)
    assert [row["batch_size"] for row in metrics(tmp_path)] == [4] * 4


def test_what_was_begun_is_undone_before_it_is_done_again():
    order, batch_size = [], BatchSize(4)

    def work():
        order.append(f"work {batch_size.size}")
        if batch_size.size > 1:
            raise torch.OutOfMemoryError("no room")
        return "done"

    assert with_room(batch_size, work, lambda: order.append("undo")) == "done"
    assert order == ["work 4", "undo", "work 2", "undo", "work 1"]


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError):
        with_room(BatchSize(4), lambda: 1 // 0)
