"""Groups of one score give their place to groups of fresh prompts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

import guardcore
from guardcore import Options
from guardcore.sampling import constant_groups
from guardcore.weighing import Weighed
from runs import ONE_UPDATE, gradient, metrics, rows, run, spying_host, whole
from toy import Brightness, RewardOptions, ToyBackbone, ToyOptions, toy_host

GROUPS, SIZE = 4, 3
SECTIONS = {
    "reward": ["deaf"],
    "rollout": {"groups": GROUPS, "group_size": SIZE, "batch_size": 4, "refill": 2},
    "prompts": {"train": {"use": "words", "size": 40}, "eval": None},
}


class DeafOptions(RewardOptions):
    every: int = Field(2, description="prompts of a length that this divides are all one to it")


class Deaf(Brightness):
    """Brightness, but the same for every image of some prompts."""

    def __call__(self, images, prompts):
        deaf = torch.tensor([len(prompt.text) % self.options.every == 0 for prompt in prompts])
        return torch.where(deaf, 0.1, super().__call__(images, prompts))


def deaf(options: DeafOptions):
    return Deaf(options)


def host(**factories):
    return toy_host(deaf=("rewards", deaf), **factories)


def sections(**more):
    """The sections with more in some of them."""
    found = dict(SECTIONS)
    for name, section in more.items():
        both = isinstance(section, dict) and isinstance(found.get(name), dict)
        found[name] = {**found[name], **section} if both else section
    return found


def advantages(seen):
    """A ``group`` advantage that remembers what it was given."""

    def factory(options: Options):
        group = guardcore.create("advantage", "group", std="batch")

        def advantage(rewards, groups, weights):
            seen.append((rewards["deaf"].clone(), groups.clone()))
            return group(rewards, groups, weights)

        return advantage

    return factory


def test_what_is_weighed_is_full_groups_with_a_spread_and_no_other_row(tmp_path):
    seen = []
    mine = host(seeing=("advantages", advantages(seen)))
    run(tmp_path, host=mine, advantage="seeing", **sections(rollout={"refill": 9}))
    refilled = [row["rollout/refilled"] for row in metrics(tmp_path)]
    assert sum(refilled) > 0
    for scores, groups in seen:
        assert groups.tolist() == [g for g in range(GROUPS) for _ in range(SIZE)]
        by_group = scores.reshape(GROUPS, SIZE)
        assert (by_group.amax(1) > by_group.amin(1)).all()
    assert [row["advantage/zero"] for row in metrics(tmp_path)] == [0, 0, 0]


def test_a_fresh_prompt_is_none_that_the_iteration_has_drawn(tmp_path):
    spying, spies = spying_host(deaf=("rewards", deaf))
    run(tmp_path, host=spying, backbone="spy", **sections(train={"iterations": 1}))
    starts = [call for call in spies[-1].seen if not call["grad"] and call["sigma"][0] == 1]
    lengths = torch.cat([call["lengths"] for call in starts]).reshape(-1, SIZE)
    drawn = lengths[:, 0].tolist()
    assert (lengths == lengths[:, :1]).all()
    assert len(drawn) == GROUPS + metrics(tmp_path)[0]["rollout/refilled"] > GROUPS
    assert len(set(drawn)) == len(drawn)


def drifting(options: Options):
    """A penalty with a gradient at every row, wherever the policy is."""
    return lambda context: context.reduce(context.new.mean)


@settings(max_examples=8)
@given(batch_size=st.integers(1, 14), penalty=st.booleans())
def test_no_batch_size_changes_a_refilled_gradient(tmp_path_factory, batch_size, penalty):
    # batches of a group hold nothing but rows that count; others keep rows that don't
    found = []
    for size in (batch_size, SIZE):
        directory = tmp_path_factory.mktemp("run")
        run(
            directory,
            host=host(drifting=("penalties", drifting)),
            penalty=[{"use": "drifting", "weight": 0.1}] if penalty else [],
            **sections(rollout={"batch_size": size}, train=ONE_UPDATE),
        )
        assert metrics(directory)[0]["rollout/refilled"] > 0
        found.append(gradient(directory))
    one, groups = found
    # sums of at most 20·3 float32 terms in another order
    assert float((one - groups).norm()) < 1e-5 * float(groups.norm())


def test_a_refilled_gradient_is_as_large_as_any_other(tmp_path):
    # The toy's mean depends on its target alike for every sample, so the penalty's gradient is the
    # same number over any samples, if and only if it is a mean over those that are summed.
    def silent(options: Options):
        return lambda rewards, groups, weights: torch.zeros(len(groups))

    found = {}
    for refill in (0, 2):
        run(
            tmp_path / str(refill),
            host=host(drifting=("penalties", drifting), silent=("advantages", silent)),
            penalty=["drifting"],
            advantage="silent",
            **sections(rollout={"refill": refill}, train=ONE_UPDATE),
        )
        found[refill] = gradient(tmp_path / str(refill))
    assert metrics(tmp_path / "2")[0]["rollout/refilled"] > 0
    assert float(found[0].norm()) > 0
    assert torch.allclose(found[0], found[2], rtol=1e-5, atol=0)


def test_the_loss_is_a_mean_over_what_counts():
    counted = torch.tensor([True, False, True, True])
    weighed = Weighed(torch.zeros(4, 2), counted)
    loss = torch.tensor([1.0, torch.nan, 2.0], requires_grad=True)
    mean = weighed.of(slice(0, 3), loss.device).mean(loss, terms=6)
    mean.backward()
    assert float(mean.detach()) == 0.5
    assert loss.grad.tolist() == [pytest.approx(1 / 6), 0, pytest.approx(1 / 6)]


def test_rewards_and_diversity_are_those_of_the_prompts_that_were_drawn_first(tmp_path):
    for refill in (0, 2):
        run(tmp_path / str(refill), host=host(), **sections(rollout={"refill": refill}))
    plain, refilled = (metrics(tmp_path / str(refill))[0] for refill in (0, 2))
    for name in ("reward/deaf", "diversity"):
        assert refilled[name] == plain[name]
    assert plain["advantage/zero"] > refilled["advantage/zero"] == 0
    assert "rollout/refilled" not in plain


def test_rounds_end_and_what_is_left_counts_as_it_would_have(tmp_path):
    spying, spies = spying_host()
    more = sections(reward=["constant"], train={"iterations": 1})
    run(tmp_path, host=spying, backbone="spy", **more)
    (row,) = metrics(tmp_path)
    assert (row["rollout/refilled"], row["advantage/zero"]) == (2 * GROUPS, 1.0)
    assert sum(len(call["x"]) for call in spies[-1].seen) == 3 * GROUPS * SIZE * 4  # steps
    assert (row["loss"], row["grad_norm"]) == (0.0, 0.0)


def test_where_nothing_is_constant_refilling_changes_no_bit(tmp_path):
    for refill in (0, 3):
        run(tmp_path / str(refill), **sections(reward=["brightness"], rollout={"refill": refill}))
    plain, refilled = (whole(tmp_path / str(refill)) for refill in (0, 3))
    assert all(row.pop("rollout/refilled") == 0 for row in refilled["metrics"])
    assert refilled == plain


SHAPES = {
    "one micro-batch a group": {"rollout": {"batch_size": SIZE}},
    "all in one": {"rollout": {"batch_size": 99}},
    "a shared start": {"rollout": {"same_noise": True}},
    "each its share": {"train": {"samples_per_update": "share", "updates_per_iteration": 3}},
    "a penalty": {"penalty": [{"use": "kl", "weight": 0.1}]},
    "two rewards": {"reward": ["deaf", {"use": "deaf", "every": 3, "weight": 2.0}]},
    "a sliding window": {
        "rollout": {"train_steps": {"use": "sliding", "size": 1, "every": 1, "end": "restart"}}
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_resumed_run_and_an_offloaded_one_are_the_run_itself(tmp_path, shape):
    more = sections(**SHAPES[shape])
    run(
        tmp_path / "one",
        host=host(),
        **{**more, "train": {**more.get("train", {}), "iterations": 4}},
    )
    assert sum(row["rollout/refilled"] for row in metrics(tmp_path / "one")) > 0
    for iterations in (2, 4):
        train = {**more.get("train", {}), "iterations": iterations}
        run(tmp_path / "two", host=host(), resume=iterations == 4, **{**more, "train": train})
    assert whole(tmp_path / "two") == whole(tmp_path / "one")
    offloaded = {**more["rollout"], "offload_trajectories": True}
    train = {**more.get("train", {}), "iterations": 4}
    run(tmp_path / "three", host=host(), **{**more, "rollout": offloaded, "train": train})
    assert whole(tmp_path / "three") == whole(tmp_path / "one")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_replay_of_a_refilled_update_is_the_update(tmp_path, shape):
    run(tmp_path, host=host(), record={"iterations": 9}, **sections(**SHAPES[shape]))
    refilled = {r["iteration"] for r in metrics(tmp_path) if r["rollout/refilled"]}
    steps = [r for r in rows(tmp_path, "steps") if r["iteration"] in refilled]
    for iteration, update in {(row["iteration"], row["update"]) for row in steps}:
        real = [r for r in steps if (r["iteration"], r["update"]) == (iteration, update)]
        done = guardcore.replay(
            tmp_path, iteration=iteration, update=update, registry=host().registry
        )
        found = done.candidates["run"].rows
        assert [row["step"] for row in found] == [row["step"] for row in real]
        for now, then in zip(found, real, strict=True):
            assert now["ratio_mean"] == pytest.approx(then["ratio_mean"], rel=0, abs=1e-12)
            if "grad_norm" in then:
                assert now["grad_norm"] == pytest.approx(then["grad_norm"], rel=1e-6)


def test_every_share_has_rows_that_count(tmp_path):
    # of 4 groups in micro-batches of their own those that are replaced leave: no share is empty
    train = {"samples_per_update": "share", "updates_per_iteration": 4, "iterations": 2}
    run(tmp_path, host=host(), **sections(rollout={"batch_size": SIZE, "refill": 9}, train=train))
    assert sum(row["rollout/refilled"] for row in metrics(tmp_path)) > 0
    assert {row["update"] for row in rows(tmp_path, "steps")} == {1, 2, 3, 4}


def test_out_of_memory_in_a_later_round_is_done_again_with_half(tmp_path):
    encoded = []

    class Small(ToyBackbone):
        def encode(self, prompts, height, width):
            encoded.append(len(prompts))
            if len(encoded) == 4:  # three micro-batches of the first round, then the second one's
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return super().encode(prompts, height, width)

    def small(options: ToyOptions):
        return Small(options)

    mine = host(small=("backbones", small))
    run(tmp_path / "halved", host=mine, backbone="small", **sections())
    run(tmp_path / "begun", host=host(), **sections(rollout={"batch_size": 2}))
    assert whole(tmp_path / "halved") == whole(tmp_path / "begun")


def test_an_encoder_is_told_of_prompts_that_may_be_drawn(tmp_path):
    told, asked = set(), set()

    class Listener(ToyBackbone):
        def prepare(self, texts):
            told.update(texts)

        def encode(self, prompts, height, width):
            asked.update(prompt.text for prompt in prompts)
            return super().encode(prompts, height, width)

    def listener(options: ToyOptions):
        return Listener(options)

    mine = host(listener=("backbones", listener))
    run(tmp_path, host=mine, backbone="listener", **sections(train={"iterations": 2}))
    assert asked < told


def test_a_group_is_constant_by_its_weighted_sum():
    rewards = {
        "a": torch.tensor([1.0, 2.0, 3.0, 3.0]).double(),
        "b": torch.tensor([2.0, 1.0, 0.0, 1.0]).double(),
    }
    assert constant_groups(rewards, {"a": 1.0, "b": 1.0}, 2).tolist() == [True, False]
    assert constant_groups(rewards, {"a": 1.0, "b": 2.0}, 2).tolist() == [False, False]
    assert constant_groups({"a": rewards["a"]}, {"a": -1.0}, 2).tolist() == [False, True]
