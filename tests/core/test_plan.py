"""What an iteration will do, for every geometry."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from guardcore.plan import draw_prompts, micro_batches, refill_prompts, shares

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


@given(number=st.integers(1, 12), groups=st.integers(1, 12), seed=st.integers(0, 2**31))
def test_refilling_begins_with_what_the_iteration_has_not_drawn_and_never_ends(
    number, groups, seed
):
    drawn = draw_prompts(number, groups, seed, 3)
    fresh = list(islice(refill_prompts(number, drawn, seed, 3), 3 * number))
    untouched = set(range(number)) - set(drawn)
    assert set(fresh[: len(untouched)]) == untouched
    rest = fresh[len(untouched) :]
    assert sorted(rest[:number]) == list(range(number))
    assert rest[number : 2 * number] == rest[: len(rest[number : 2 * number])]
