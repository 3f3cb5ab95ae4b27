"""Windows: which steps are trained, iteration by iteration."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guardcore import GuardcoreError, create
from guardcore.binding import bind
from guardcore.layers import parse_config
from guardcore.noise import generator
from guardcore.trained_steps import built_window
from toy import toy_host, toy_tree

REGISTRY = toy_host().registry  # read only


def trained(train_steps, steps):
    """The window that a config means by ``train_steps``, over a schedule of ``steps``."""
    tree = toy_tree(rollout={"num_inference_steps": steps, "train_steps": train_steps})
    return built_window(bind(parse_config(tree), REGISTRY).window, steps)


def places(count, steps=10, **options):
    """Where the sliding window begins in the first ``count`` iterations."""
    window = create("window", "sliding", **options)
    found = [list(window(i, steps, generator(0, i, "window"))) for i in range(1, count + 1)]
    size = options.get("size", 4)
    assert all(steps == list(range(steps[0], steps[0] + size)) for steps in found)
    return [steps[0] for steps in found]


@given(st.integers(2, 30), st.integers(0, 2**31), st.integers(1, 1000))
def test_all_is_every_step_but_the_last(steps, seed, iteration):
    assert trained("all", steps).at(seed, iteration) == list(range(steps - 1))


@given(st.sets(st.integers(0, 9), min_size=1), st.randoms())
def test_a_list_of_steps_is_taken_in_the_order_of_the_schedule(steps, random):
    given_order = list(steps)
    random.shuffle(given_order)
    window = trained(given_order, 12)
    assert window.at(0, 1) == window.at(3, 9) == window.reach == sorted(steps)


@given(data=st.data(), steps=st.integers(2, 16), choose=st.sampled_from(["fixed", "random"]))
def test_a_block_lies_inside_its_range_and_before_the_last_step(data, steps, choose):
    end = data.draw(st.none() | st.integers(1, steps - 1))
    stop = steps - 1 if end is None else end
    start = data.draw(st.integers(0, stop - 1))
    size = data.draw(st.integers(1, stop - start))
    window = trained({"size": size, "from": start, "to": end, "choose": choose}, steps)
    assert window.reach == range(start, stop)
    for iteration in range(1, 6):
        chosen = window.at(3, iteration)
        assert chosen == list(range(chosen[0], chosen[0] + size))
        assert start <= chosen[0]
        assert chosen[-1] < stop <= steps - 1
        if choose == "fixed":
            assert chosen[0] == start


def test_a_random_block_begins_everywhere_in_its_range_alike():
    window = trained({"size": 2, "from": 1, "to": 6, "choose": "random"}, 8)
    starts = Counter(window.at(0, i)[0] for i in range(1, 1001))
    assert set(starts) == {1, 2, 3, 4}
    # 250 expected of each, standard deviation 14: five of them
    assert max(abs(count - 250) for count in starts.values()) < 70


def test_a_random_block_draws_what_it_drew_before_it_was_a_plugin():
    window = trained({"size": 3, "from": 2, "choose": "random"}, 12)
    for iteration in range(1, 50):
        drawn = torch.randint(9 - 3 + 1, (), generator=generator(5, iteration, "window"))
        assert window.at(5, iteration)[0] == 2 + int(drawn)


@pytest.mark.parametrize("choose", ["fixed", "random"])
def test_a_block_that_fills_its_range_has_one_place(choose):
    window = trained({"size": 7, "choose": choose}, 8)
    assert {tuple(window.at(0, i)) for i in range(9)} == {tuple(range(7))}


@pytest.mark.parametrize(
    ("short", "whole"),
    [
        ([2, 0], {"use": "steps", "steps": [2, 0]}),
        ({"size": 2, "from": 1}, {"use": "block", "size": 2, "from": 1}),
        ("all", {"use": "guardcore:all"}),
    ],
)
def test_the_short_forms_mean_windows(short, whole):
    one, other = trained(short, 6), trained(whole, 6)
    assert one.name == other.name
    assert [one.at(0, i) for i in (1, 2)] == [other.at(0, i) for i in (1, 2)]


def test_the_sliding_window_moves_by_its_stride_every_so_many_iterations_and_stays_at_the_end():
    # 9 trained steps of 10, w = 4: l = 0, 2, 4, and the last place 5, which no stride reaches
    assert places(12, steps=9, every=3, stride=2) == [0, 0, 0, 2, 2, 2, 4, 4, 4, 5, 5, 5]
    assert places(40, steps=9, every=3, stride=2)[12:] == [5] * 28


def test_mixgrpos_defaults_leave_a_place_every_25_iterations():
    found = places(24 * 25, steps=24)
    assert found[: 20 * 25] == [place for place in range(20) for _ in range(25)]
    assert set(found[20 * 25 :]) == {20}


def test_a_sliding_window_may_begin_again():
    sweep = [1, 1, 2, 2, 3, 3]
    options = {"size": 2, "from": 1, "to": 5, "every": 2, "end": "restart"}
    assert places(15, **options) == (sweep * 3)[:15]


def test_a_decay_shortens_the_stay_from_a_step_on():
    # tau(l) = ceil(4·exp(−0.5·max(0, l − 1))): 4, 4, ceil 2.43 = 3, ceil 1.47 = 2, the end
    found = places(20, steps=8, every=4, decay=0.5, decay_from=1)
    assert found == [0] * 4 + [1] * 4 + [2] * 3 + [3] * 2 + [4] * 7


@pytest.mark.parametrize("size", [1, 9])
def test_a_window_of_any_size_slides_over_exactly_its_range(size):
    found = places(100, steps=9, size=size, every=1)
    assert sorted(set(found)) == list(range(9 - size + 1))
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("steps", {"steps": [3]}),
        ("block", {"size": 4}),
        ("sliding", {}),
        ("sliding", {"size": 1, "to": 4}),
        ("sliding", {"size": 2, "from": 2}),
    ],
)
def test_what_does_not_fit_is_a_config_error_and_a_windows_own(name, options):
    tree = toy_tree(rollout={"train_steps": {"use": name, **options}})
    with pytest.raises(GuardcoreError, match=r"rollout.train_steps: .*of 4 is never trained"):
        bind(parse_config(tree), REGISTRY)
    with pytest.raises(ValueError, match="does not fit|different steps"):
        create("window", name, **options)(1, 3, generator(0, 1, "window"))
