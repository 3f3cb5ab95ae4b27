"""What an iteration will do, for every geometry."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardcore.config import Rollout
from guardcore.plan import draw_prompts, micro_batches, shares, trained_steps

SIZES = st.integers(1, 60)


@given(SIZES, SIZES)
def test_micro_batches_hold_each_sample_once_and_only_the_last_is_short(samples, batch_size):
    batches = micro_batches(samples, batch_size)
    assert [sample for batch in batches for sample in batch] == list(range(samples))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert 1 <= len(batches[-1]) <= batch_size


@given(SIZES, st.integers(1, 8))
def test_shares_divide_the_micro_batches_evenly(batches, updates):
    parts = shares(batches, updates, "share")
    assert len(parts) == updates
    assert [batch for part in parts for batch in part] == list(range(batches))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1 or batches < updates  # a config with too few is refused


@given(SIZES, st.integers(1, 8))
def test_otherwise_every_update_sees_all(batches, updates):
    assert shares(batches, updates, "all") == [range(batches)] * updates


@given(number=st.integers(1, 20), groups=st.integers(1, 30), seed=st.integers(0, 2**63 - 1))
def test_the_stream_of_prompts_holds_each_prompt_once_a_pass(number, groups, seed):
    iterations = -(-3 * number // groups)
    stream = [
        prompt
        for iteration in range(1, iterations + 1)
        for prompt in draw_prompts(number, groups, seed, iteration)
    ]
    assert len(stream) == iterations * groups
    for start in range(0, len(stream) - number + 1, number):
        assert sorted(stream[start : start + number]) == list(range(number))


def test_passes_and_seeds_have_orders_of_their_own():
    orders = {tuple(draw_prompts(8, 8, seed, i)) for seed in (0, 1) for i in (1, 2, 3)}
    assert len(orders) == 6  # two of six orders of 8! agree with probability 4e-4


@given(number=st.integers(1, 20), groups=st.integers(1, 30), iteration=st.integers(1, 10**6))
def test_an_iterations_prompts_depend_on_nothing_that_came_before(number, groups, iteration):
    first = draw_prompts(number, groups, 5, iteration)
    assert draw_prompts(number, groups, 5, iteration) == first


def rollout(steps, train_steps):
    return Rollout(num_inference_steps=steps, train_steps=train_steps)


@given(st.integers(2, 30), st.integers(0, 2**31), st.integers(1, 1000))
def test_all_steps_but_the_last_are_trained_by_default(steps, seed, iteration):
    assert list(trained_steps(rollout(steps, "all"), seed, iteration)) == list(range(steps - 1))


@given(st.sets(st.integers(0, 9), min_size=1), st.randoms())
def test_a_list_of_steps_is_taken_in_the_order_of_the_schedule(steps, random):
    given_order = list(steps)
    random.shuffle(given_order)
    assert list(trained_steps(rollout(12, given_order), 0, 1)) == sorted(steps)


@given(data=st.data(), steps=st.integers(2, 16), choose=st.sampled_from(["fixed", "random"]))
def test_a_window_lies_inside_its_range_and_before_the_last_step(data, steps, choose):
    end = data.draw(st.none() | st.integers(1, steps - 1))
    stop = steps - 1 if end is None else end
    start = data.draw(st.integers(0, stop - 1))
    size = data.draw(st.integers(1, stop - start))
    window = {"size": size, "from": start, "to": end, "choose": choose}
    settings = rollout(steps, window)
    for iteration in range(1, 6):
        chosen = list(trained_steps(settings, 3, iteration))
        assert chosen == list(range(chosen[0], chosen[0] + size))
        assert start <= chosen[0]
        assert chosen[-1] < stop <= steps - 1
        if choose == "fixed":
            assert chosen[0] == start


def test_a_random_window_begins_everywhere_in_its_range_alike():
    window = {"size": 2, "from": 1, "to": 6, "choose": "random"}
    settings = rollout(8, window)
    starts = Counter(list(trained_steps(settings, 0, i))[0] for i in range(1, 1001))
    assert set(starts) == {1, 2, 3, 4}
    # 250 expected of each, standard deviation 14: five of them
    assert max(abs(count - 250) for count in starts.values()) < 70


@pytest.mark.parametrize("choose", ["fixed", "random"])
def test_a_window_that_fills_its_range_has_one_place(choose):
    window = {"size": 7, "choose": choose}
    assert {tuple(trained_steps(rollout(8, window), 0, i)) for i in range(9)} == {tuple(range(7))}
