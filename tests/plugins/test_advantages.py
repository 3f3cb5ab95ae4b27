import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guardcore import GuardcoreError, create

PLAIN = create("advantage", "group", clip=None)
DEFAULT = create("advantage", "group")
BY_STD = {
    std: create("advantage", "group", std=std, clip=None) for std in ("group", "batch", "none")
}
CENTRED = {
    **{f"group, std {std}": advantage for std, advantage in BY_STD.items()},
    "gdpo": create("advantage", "gdpo", clip=None),
    "leave-one-out": create("advantage", "leave-one-out"),
    "extremes": create("advantage", "extremes", best=2, worst=1, clip=None),
}
EACH = pytest.mark.parametrize("name", CENTRED)
REWARDS = st.lists(
    st.tuples(st.integers(0, 3), st.floats(-100, 100, width=32)), min_size=1, max_size=24
)


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def tensors(rows):
    groups, rewards = zip(*rows, strict=True)
    return torch.tensor(rewards, dtype=torch.float64), torch.tensor(groups)


def one(advantage, rewards, groups):
    return advantage({"score": rewards}, groups, {"score": 1.0})


def test_a_group_by_hand():
    # mean 2, population std sqrt(2/3)
    rewards, groups = torch.tensor([1.0, 2.0, 3.0]).double(), torch.zeros(3).long()
    std = (2 / 3) ** 0.5
    want = [-1 / (std + 1e-4), 0.0, 1 / (std + 1e-4)]
    assert one(DEFAULT, rewards, groups).tolist() == pytest.approx(want, rel=1e-12)
    assert one(BY_STD["none"], rewards, groups).tolist() == [-1.0, 0.0, 1.0]


@EACH
@given(rows=REWARDS, seed=st.integers(0, 2**31))
def test_every_group_has_mean_zero_and_no_order(name, rows, seed):
    rewards, groups = tensors(rows)
    values = one(CENTRED[name], rewards, groups)
    for group in set(groups.tolist()):
        inside = values[groups == group]
        # float64 sums of up to 24 numbers, divided by a std of at least eps = 1e-4
        assert abs(float(inside.sum())) < 1e-8 * max(1.0, float(rewards.abs().max()))
    order = torch.randperm(len(rewards), generator=torch.Generator().manual_seed(seed))
    permuted = one(CENTRED[name], rewards[order], groups[order])
    torch.testing.assert_close(permuted, values[order], rtol=1e-9, atol=1e-9)


@given(rows=REWARDS, names=st.permutations(range(4)))
def test_what_the_groups_are_called_does_not_matter(rows, names):
    rewards, groups = tensors(rows)
    renamed = torch.tensor([names[group] * 10 - 5 for group in groups.tolist()])
    for advantage in (PLAIN, BY_STD["none"]):
        assert torch.equal(one(advantage, rewards, renamed), one(advantage, rewards, groups))


@EACH
@given(
    value=st.floats(-1e6, 1e6, width=32),
    size=st.integers(1, 48),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_a_constant_group_is_exactly_zero_whatever_its_mean_rounds_to(name, value, size, dtype):
    rewards = torch.tensor([value] * size + [0.0, 1.0], dtype=dtype)
    groups = torch.tensor([0] * size + [1, 1])
    assert one(CENTRED[name], rewards, groups)[:size].tolist() == [0.0] * size


@given(rows=REWARDS, shift=st.integers(-8, 8), scale=st.sampled_from([0.5, 1, 4, 64]))
def test_groups_are_relative_a_shift_of_one_group_changes_nothing(rows, shift, scale):
    rewards, groups = tensors(rows)
    rewards = rewards.round()  # whole numbers: a shift is exact
    moved = rewards + shift * groups
    torch.testing.assert_close(one(PLAIN, moved, groups), one(PLAIN, rewards, groups))
    # without eps a scale changes nothing either
    free = create_free()
    torch.testing.assert_close(one(free, scale * rewards, groups), one(free, rewards, groups))


def create_free(cache=[]):  # noqa: B006 - built once
    cache or cache.append(create("advantage", "group", eps=0, clip=None))
    return cache[0]


def test_the_batch_std_is_one_for_all_groups():
    rewards = torch.tensor([0.0, 1.0, 0.0, 10.0]).double()
    groups = torch.tensor([0, 0, 1, 1])
    values = one(BY_STD["batch"], rewards, groups)
    std = float(rewards.std(correction=0)) + 1e-4
    assert values.tolist() == pytest.approx([-0.5 / std, 0.5 / std, -5 / std, 5 / std], rel=1e-12)


def test_the_clip_bounds_both_sides_at_five_by_default():
    # one winner in 101: (1 − 1/101)/sqrt(1/101·100/101) = 10
    rewards = torch.tensor([1.0] + [0.0] * 100).double()
    groups = torch.zeros(101).long()
    assert float(one(PLAIN, rewards, groups)[0]) == pytest.approx(10, rel=2e-3)
    assert float(one(DEFAULT, rewards, groups).max()) == 5.0
    assert float(one(DEFAULT, -rewards, groups).min()) == -5.0


def test_rewards_are_summed_by_their_weights():
    groups = torch.zeros(3).long()
    a, b = torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([5.0, 1.0, 0.0]).double()
    together = PLAIN({"a": a, "b": b}, groups, {"a": 2.0, "b": -0.5})
    assert torch.equal(together, one(PLAIN, 2 * a - 0.5 * b, groups))


def test_a_reward_of_weight_zero_has_no_say_even_if_it_is_infinite():
    groups, a = torch.zeros(2).long(), torch.tensor([1.0, 2.0])
    values = PLAIN({"a": a, "b": a * torch.inf}, groups, {"a": 1.0, "b": 0.0})
    assert torch.equal(values, one(PLAIN, a, groups))


def test_a_negative_weight_asks_for_less():
    groups, a = torch.zeros(3).long(), torch.tensor([1.0, 2.0, 4.0]).double()
    assert torch.equal(PLAIN({"a": a}, groups, {"a": -1.0}), -one(PLAIN, a, groups))


def normalized(how, **options):
    return create("advantage", "group", normalize=how, clip=None, **options)


TWO = {
    "a": torch.tensor([0.0, 1.0, 5.0, 6.0, 2.0, 2.0]).double(),
    "b": torch.tensor([3.0, 1.0, 0.0, 0.0, 1.0, 4.0]).double(),
}
PAIRS = torch.tensor([0, 0, 1, 1, 2, 2])


def test_two_rewards_normalized_within_the_group_by_hand():
    # in a pair every reward becomes −1, 1; where it is constant 0; weights 2 and 1; std "none"
    values = normalized("group", eps=0, std="none")(TWO, PAIRS, {"a": 2.0, "b": 1.0})
    assert values.tolist() == pytest.approx([-1, 1, -2, 2, -1, 1], abs=1e-12)


def test_two_rewards_normalized_over_all_samples_by_hand():
    values = normalized("batch", eps=0, std="none")(TWO, PAIRS, {"a": 2.0, "b": 1.0})
    a, b = (float(TWO[name].std(correction=0)) for name in "ab")
    halves = [-1 / a + 1 / b, -1 / a, -1.5 / b]  # 2·(R_a − mean)/a + (R_b − mean)/b, halves of it
    want = [sign * half for half in halves for sign in (1, -1)]
    assert values.tolist() == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("how", ["group", "batch"])
@given(rows=REWARDS, other=st.lists(st.integers(-9, 9), min_size=24, max_size=24))
def test_a_thousandfold_of_a_normalized_reward_changes_nothing(how, rows, other):
    a, groups = tensors(rows)
    a, b = a.round(), torch.tensor(other[: len(a)]).double()
    weights, advantage = {"a": 1.0, "b": 0.5}, normalized(how, eps=0, std="none")
    once = advantage({"a": a, "b": b}, groups, weights)
    often = advantage({"a": 1000 * a, "b": b}, groups, weights)
    torch.testing.assert_close(often, once, rtol=1e-9, atol=1e-9)


def test_without_normalizing_the_larger_scale_decides():
    # the first pair: 3·1 − 2 ranks the second image higher, 3·1 − 2000 the first
    weights = {"a": 3.0, "b": 1.0}
    larger = {"a": TWO["a"], "b": 1000 * TWO["b"]}
    assert PLAIN(TWO, PAIRS, weights)[:2].sign().tolist() == [-1, 1]
    assert PLAIN(larger, PAIRS, weights)[:2].sign().tolist() == [1, -1]


@pytest.mark.parametrize("how", ["group", "batch"])
@given(value=st.floats(-1e6, 1e6, width=32), size=st.integers(1, 48))
def test_a_normalized_constant_is_exactly_zero(how, value, size):
    rewards = torch.full((size,), value, dtype=torch.float64)
    assert one(normalized(how, eps=0), rewards, torch.zeros(size).long()).tolist() == [0.0] * size


@EACH
def test_without_any_weight_there_is_nothing_to_rank_by(name):
    with pytest.raises(ValueError, match="no reward has a weight"):
        CENTRED[name]({"a": torch.ones(2)}, torch.zeros(2).long(), {"a": 0.0})


@EACH
@pytest.mark.parametrize("shape", [(2, 1), (1,), (3,), ()])
def test_a_reward_of_another_shape_is_named(name, shape):
    rewards = {"a": torch.ones(2), "b": torch.ones(shape)}
    with pytest.raises(ValueError, match=r"reward 'b' must be \[2\] like groups"):
        CENTRED[name](rewards, torch.zeros(2).long(), {"a": 1, "b": 1})


def test_gdpo_standardizes_each_reward_in_its_group_and_their_sum_in_the_batch():
    rewards = {name: randn(12, seed=seed) * 10**seed for seed, name in enumerate("abc")}
    weights = {"a": 1.0, "b": -0.5, "c": 2.0}
    found = create("advantage", "gdpo", eps=0, clip=None)(rewards, torch.arange(12) // 4, weights)

    def standardized(values, dim):
        centred = values - values.mean(dim, keepdim=True)
        return centred / centred.square().mean(dim, keepdim=True).sqrt()

    total = sum(
        weights[name] * standardized(values.reshape(3, 4), 1) for name, values in rewards.items()
    )
    torch.testing.assert_close(found, standardized(total.flatten(), 0), rtol=1e-9, atol=1e-12)


def test_gdpo_tells_apart_what_the_sum_of_rewards_does_not():
    # (1, 0) and (0, 1) have one sum, so group says 0; here the rarer achievement counts for more
    rewards = {"a": torch.tensor([1.0, 0, 0, 0]), "b": torch.tensor([0.0, 1, 1, 1])}
    groups, weights = torch.zeros(4).long(), {"a": 1.0, "b": 0.5}
    assert PLAIN(rewards, groups, {"a": 1.0, "b": 1.0}).tolist() == [0.0] * 4
    assert create("advantage", "gdpo")(rewards, groups, weights).sign().tolist() == [1, -1, -1, -1]


@given(rows=REWARDS)
def test_leave_one_out_compares_with_the_mean_of_the_others(rows):
    rewards, groups = tensors(rows)
    found = one(CENTRED["leave-one-out"], rewards, groups)
    for place in range(len(rewards)):
        others = (groups == groups[place]) & (torch.arange(len(rewards)) != place)
        want = float(rewards[place] - rewards[others].mean()) if others.any() else 0.0
        assert float(found[place]) == pytest.approx(want, abs=1e-9)


def test_leave_one_out_is_an_unbiased_gradient_and_the_group_mean_is_too_small():
    # A coin with P(1) = p, paid 1 for a 1: the gradient of its mean by p is 1. Over all outcomes
    # of three throws the average of A·∂log P/∂p is that; with the group's own mean it is 2/3.
    p, none = 0.3, create("advantage", "group", std="none")
    gradients = {"leave-one-out": 0.0, "group": 0.0}
    for throws in itertools.product([0.0, 1.0], repeat=3):
        x = torch.tensor(throws, dtype=torch.float64)
        chance = float((x * p + (1 - x) * (1 - p)).prod())
        score = x / p - (1 - x) / (1 - p)
        for name, advantage in (("leave-one-out", CENTRED["leave-one-out"]), ("group", none)):
            values = one(advantage, x, torch.zeros(3).long())
            gradients[name] += chance * float((values * score).mean())
    assert gradients["leave-one-out"] == pytest.approx(1, abs=1e-12)
    assert gradients["group"] == pytest.approx(2 / 3, abs=1e-12)


def extremes(rewards, **options):
    values = torch.tensor(rewards, dtype=torch.float64)
    built = create("advantage", "extremes", eps=0, clip=None, **options)
    return one(built, values, torch.zeros(len(values)).long()).tolist()


def test_the_extremes_of_a_group_by_hand():
    # kept: 9, 7 and 1; mean 17/3, population std sqrt(104)/3
    std = 104**0.5 / 3
    want = [(9 - 17 / 3) / std, 0, (1 - 17 / 3) / std, (7 - 17 / 3) / std, 0]
    assert extremes([9, 4, 1, 7, 3], best=2, worst=1) == pytest.approx(want, abs=1e-12)
    # compared with the whole group, as in DanceGRPO's code
    found = extremes([9, 4, 1, 7, 3], best=2, worst=1, relative_to="group")
    whole = one(create_free(), torch.tensor([9.0, 4, 1, 7, 3]).double(), torch.zeros(5).long())
    assert found == pytest.approx([float(whole[0]), 0, *whole[2:4].tolist(), 0], abs=1e-12)


def test_equal_images_share_the_places_that_are_left():
    # one place from above and three 1s: a third each; two from below and three 0s: two thirds
    found = extremes([1, 1, 1, 0, 0, 0], best=1, worst=2)
    # weights sum to 3, mean 1/3, std sqrt(2)/3
    up, down = (2 / 3) / (2**0.5 / 3) / 3, (-1 / 3) / (2**0.5 / 3) * 2 / 3
    assert found == pytest.approx([up] * 3 + [down] * 3, abs=1e-12)
    assert extremes([5, 5, 1], best=2, worst=0) == [0.0] * 3  # all that is kept is equal


def test_where_all_are_kept_the_extremes_are_the_group():
    rewards = randn(7)
    groups = torch.zeros(7).long()
    for best, worst in [(4, 3), (7, 0), (7, 7)]:
        advantage = create("advantage", "extremes", best=best, worst=worst)
        torch.testing.assert_close(one(advantage, rewards, groups), one(DEFAULT, rewards, groups))


@given(rows=REWARDS, best=st.integers(1, 9), worst=st.integers(1, 9))
def test_as_many_places_are_given_as_there_are(rows, best, worst):
    values = tensors(rows)[0]
    kept = create("advantage", "extremes", best=best, worst=worst).kept(values)
    assert float(kept.sum()) == pytest.approx(min(best + worst, len(values)), abs=1e-9)
    assert bool((kept >= 0).all())
    assert bool((kept <= 1 + 1e-12).all())


def test_a_choice_of_fewer_than_two_is_refused():
    with pytest.raises(GuardcoreError, match="advantage extremes.*two images or more"):
        create("advantage", "extremes", best=1, worst=0)


@pytest.mark.parametrize(
    "options",
    [
        {"std": "sample"},
        {"normalize": "all"},
        {"eps": -1e-9},
        {"clip": 0},
        {"clip": -5},
        {"eps": float("nan")},
    ],
)
def test_options_out_of_range_are_refused_and_named(options):
    ((name, _),) = options.items()
    with pytest.raises(GuardcoreError, match=f"advantage group.{name}: .*received"):
        create("advantage", "group", **options)
