"""Laws that hold for every word, then what each word is for."""

import dataclasses
import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guardcore import (
    GuardcoreError,
    RatioTerms,
    Schedule,
    StepContext,
    Transition,
    create,
    log_ratio,
    surrogate,
)

HOLDING = ["ppo-clip", "soft-clip", "cispo", "dual-clip", "dppo-mask"]
CENTRING = ["mean-revise", "ratio-norm", "flat-norm"]
WORDS = [*HOLDING, *CENTRING]
EACH = pytest.mark.parametrize("word", WORDS)
word_of = functools.cache(functools.partial(create, "ratio_transform"))  # pure: one will do
sampler_of = functools.cache(functools.partial(create, "sampler"))
REDUCTIONS = pytest.mark.parametrize("reduction", ["mean", "sum"])


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def context(d, noise, reduction="mean", index=None, gain=None):
    """Rows at the steps ``index`` of a flow-sde schedule, the new mean ``d`` beside the old."""
    rows = len(d)
    index = torch.arange(rows) % 7 if index is None else index
    step = Schedule(torch.linspace(1, 0, 9, dtype=torch.float64)).step(index, rows)
    old = sampler_of("flow-sde").transition(randn(*d.shape, seed=8), noise * 0, step)
    if gain is not None:
        old = Transition(old.mean, old.std, gain)
    new = Transition(old.mean + d, old.std, old.velocity_gain)
    advantage = randn(rows, seed=9)
    return StepContext(step, old, new, old.draw(noise), reduction, advantage)


def rows_of(step, rows):
    """The same context with some of its rows only."""

    def take(t):
        return Transition(t.mean[rows], t.std[rows], t.velocity_gain[rows])

    levels = [getattr(step.step, name)[rows] for name in ("index", "sigma", "sigma_next")]
    return StepContext(
        type(step.step)(*levels, step.step.sigma_max),
        take(step.old),
        take(step.new),
        step.x_next[rows],
        step.reduction,
        step.advantage[rows],
    )


def applied(word, step, **options):
    return word_of(word, **options)(RatioTerms(log_ratio(step), 0.9, 1.1), step)


def fields(terms):
    return [terms.log_ratio, terms.low, terms.high, terms.blocked]


@EACH
@REDUCTIONS
@given(seed=st.integers(0, 2**31), cut=st.integers(1, 5), scale=st.sampled_from([1e-3, 0.1, 1.0]))
def test_no_word_lets_one_row_see_another(word, reduction, seed, cut, scale):
    step = context(scale * randn(6, 2, 3, seed=seed), randn(6, 2, 3, seed=seed + 1), reduction)
    whole = fields(applied(word, step))
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    permuted = fields(applied(word, rows_of(step, order)))
    parts = [rows_of(step, torch.arange(6)[part]) for part in (slice(cut), slice(cut, 6))]
    split = [
        torch.cat(pair) for pair in zip(*(fields(applied(word, p)) for p in parts), strict=True)
    ]
    for values, shuffled, joined in zip(whole, permuted, split, strict=True):
        # float64 sums over 6 numbers in another order of rows: the same sums
        torch.testing.assert_close(shuffled, values[order], rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(joined, values, rtol=1e-12, atol=1e-15)


@EACH
@pytest.mark.parametrize("shape", [(6,), (6, 6, 6), (6, 9, 16)])
def test_one_number_a_row_meets_latents_of_any_shape(word, shape):
    # as many rows as columns: a bare [B] against [B, …] would broadcast and still fit
    shape = (6, *shape)
    step = context(0.1 * randn(*shape), randn(*shape, seed=1))
    for values in fields(applied(word, step)):
        assert values.shape == (6,)


@EACH
@REDUCTIONS
def test_where_nothing_has_changed_every_word_says_ratio_one(word, reduction):
    step = context(torch.zeros(6, 2, 3).double(), randn(6, 2, 3), reduction)
    terms = applied(word, step)
    assert terms.log_ratio.tolist() == [0.0] * 6
    assert (terms.low <= 1).all()
    assert (terms.high >= 1).all()


@EACH
@REDUCTIONS
def test_at_ratio_one_a_word_scales_the_gradient_and_never_turns_it(word, reduction):
    d = torch.zeros(6, 2, 3).double().requires_grad_()
    step = context(d, randn(6, 2, 3), reduction)
    (plain,) = torch.autograd.grad(log_ratio(step).sum(), d, retain_graph=True)
    (worded,) = torch.autograd.grad(applied(word, step).log_ratio.sum(), d)
    scale = worded / plain
    assert (scale > 0).all()
    # one factor a row: log r's own gradient, times what the word multiplies
    first = scale.flatten(1)[:, :1]
    torch.testing.assert_close(scale.flatten(1), first.expand(6, 6), rtol=1e-9, atol=0)


@EACH
def test_a_word_leaves_the_terms_that_it_was_given_alone(word):
    step = context(0.1 * randn(4, 3), randn(4, 3, seed=1))
    terms = RatioTerms(log_ratio(step), 0.9, 1.1)
    before = [values.clone() for values in fields(terms)]
    word_of(word)(terms, step)
    for values, old in zip(fields(terms), before, strict=True):
        assert torch.equal(values, old)


@pytest.mark.parametrize("word", CENTRING)
@REDUCTIONS
def test_the_bias_removed_leaves_a_log_ratio_centred_on_zero(word, reduction):
    # log r + bias is d·noise/std, N(0, 2K) for the sum: the mean of n draws lies within
    # 5·std/sqrt(n) of 0, where the plain log-ratio lies sqrt(K/2)·sqrt(n) standard errors away.
    rows, shape = 4000, (4000, 8)
    one = 0.2 * randn(8)
    index = torch.full((rows,), 2)
    step = context(one.expand(shape), randn(*shape, seed=1), reduction, index)
    values, plain = applied(word, step).log_ratio, log_ratio(step)
    assert abs(float(values.mean())) < 5 * float(values.std()) / rows**0.5
    assert float(plain.mean()) < -5 * float(plain.std()) / rows**0.5


def spreads(word, velocity_change):
    """Std of the log-ratio at each step, for one change of the velocity everywhere."""
    rows, found = 4000, []
    for index in range(7):
        at = torch.full((rows,), index)
        probe = context(torch.zeros(rows, 8).double(), randn(rows, 8), index=at)
        d = -probe.old.velocity_gain[0] * velocity_change
        step = context(d.expand(rows, 8), randn(rows, 8, seed=index), index=at)
        terms = RatioTerms(log_ratio(step))
        word_terms = word_of(word)(terms, step) if word else terms
        found.append(float(word_terms.log_ratio.std()))
    return torch.tensor(found)


def test_ratio_norm_takes_the_std_out_of_the_spread_and_flat_norm_the_gain_too():
    # With the mean convention the spread is rms(d)/(std·sqrt(D)); |d| = velocity_gain·|Δv|.
    change = 0.01 * randn(8)
    rms = float(change.square().mean().sqrt()) / 8**0.5
    probe = context(torch.zeros(7, 8).double(), randn(7, 8), index=torch.arange(7)).old
    tolerance = 5 / (2 * 4000) ** 0.5  # five standard errors of a std
    for word, scale in [
        (None, probe.velocity_gain / probe.std),
        ("mean-revise", probe.velocity_gain / probe.std),
        ("ratio-norm", probe.velocity_gain),
        ("flat-norm", torch.ones(7)),
    ]:
        want = (scale * rms).float()
        torch.testing.assert_close(spreads(word, change), want, rtol=tolerance, atol=0)


def test_the_bias_is_each_rows_own_and_not_the_batchs_mean():
    step = context(torch.stack([0 * randn(5), randn(5)]), randn(2, 5), index=torch.tensor([3, 3]))
    for word in CENTRING:
        assert float(applied(word, step).log_ratio[0]) == 0.0


def test_ppo_clip_bounds_the_ratio_and_leaves_it():
    step = context(0.1 * randn(3, 4), randn(3, 4))
    terms = word_of("ppo-clip", low=0.2, high=0.3)(RatioTerms(log_ratio(step)), step)
    assert terms.low.tolist() == pytest.approx([0.8] * 3, abs=1e-15)
    assert terms.high.tolist() == pytest.approx([1.3] * 3, abs=1e-15)
    assert torch.equal(terms.log_ratio, log_ratio(step))


@settings(max_examples=15)  # each looks the words up anew
@given(st.lists(st.tuples(st.floats(0, 0.99), st.floats(0, 3)), min_size=1, max_size=4))
def test_several_clips_intersect_in_any_order(clips):
    step = context(0.1 * randn(2, 4), randn(2, 4))
    for order in (clips, clips[::-1]):
        terms = RatioTerms(log_ratio(step))
        for low, high in order:
            terms = word_of("ppo-clip", low=low, high=high)(terms, step)
        assert terms.low.tolist() == [max(1 - low for low, _ in clips)] * 2
        assert terms.high.tolist() == [min(1 + high for _, high in clips)] * 2


def test_a_clip_range_of_two_millionths_survives_its_dtype():
    terms = word_of("ppo-clip", low=2e-6, high=2e-6)(
        RatioTerms(torch.zeros(1).double()), context(torch.zeros(1, 2), torch.zeros(1, 2))
    )
    assert float(terms.high) - 1 == pytest.approx(2e-6, rel=1e-9)
    assert 1 - float(terms.low) == pytest.approx(2e-6, rel=1e-9)


def test_the_dppo_mask_blocks_exactly_the_moves_away():
    # Near and far rows, each with every sign of (log r, A). Far from the old distribution a move
    # away (r > 1 wanted larger, r < 1 wanted smaller) has no gradient; a move back keeps its own.
    noise, sign = torch.ones(8, 4).double(), torch.tensor([1.0, 1, -1, -1] * 2).double()
    size = torch.tensor([1e-4] * 4 + [1.0] * 4).double()
    d = (sign * size)[:, None].expand(8, 4).clone().requires_grad_()
    advantage = torch.tensor([1.0, -1.0] * 4).double()
    step = context(d, 3 * noise, index=torch.full((8,), 3))
    threshold = 1e-3
    far = step.bias > threshold
    assert far.tolist() == [False] * 4 + [True] * 4
    raw = log_ratio(step)
    assert (raw.sign() == sign).all()
    terms = word_of("dppo-mask", threshold=threshold)(RatioTerms(raw), step)
    result = surrogate(terms, advantage, torch.ones(8))
    (gradient,) = torch.autograd.grad(result.loss.sum(), d)
    away = raw.sign() == advantage.sign()
    blocked = gradient.flatten(1).abs().sum(1) == 0
    assert blocked.tolist() == (far & away).tolist() == result.clipped.tolist()


def test_the_dppo_mask_lets_a_row_at_the_threshold_pass():
    d = torch.full((1, 4), 0.5).double()
    step = context(d, torch.zeros(1, 4).double(), index=torch.tensor([3]))
    at = float(step.bias)
    for threshold, low in [(at, 0.0), (at * (1 - 1e-9), 1.0)]:
        word = word_of("dppo-mask", threshold=threshold)
        assert word(RatioTerms(log_ratio(step)), step).low.tolist() == [low]


def held(ratio, advantage, *words):
    """What is left of each row's ``A·r``: value and derivative by ``r``, and who is blocked."""
    r = torch.tensor(ratio, dtype=torch.float64, requires_grad=True)
    step = dataclasses.replace(
        context(0.1 * randn(len(r), 3), randn(len(r), 3)),
        advantage=torch.tensor(advantage, dtype=torch.float64).expand(len(r)),
    )
    terms = RatioTerms(r.log())
    for word in words:
        terms = word(terms, step)
    result = surrogate(terms, step.advantage, torch.ones(len(r)))
    (slope,) = torch.autograd.grad(-result.loss.sum(), r)
    return -result.loss.detach(), slope, result.clipped


RATIOS = [0.05, 0.3, 0.8, 0.95, 1.0, 1.02, 1.3, 2.0, 5.0]


@pytest.mark.parametrize(("advantage", "width"), [(2.0, 0.5), (-3.0, 0.1), (0.7, 2.0)])
def test_the_soft_clip_is_sapos_gate_but_for_a_constant(advantage, width):
    other = 7.0  # the other sign's width has no say
    low, high = (other, width) if advantage > 0 else (width, other)
    value, slope, blocked = held(RATIOS, advantage, word_of("soft-clip", low=low, high=high))
    r, tau = torch.tensor(RATIOS, dtype=torch.float64), 2 / width
    gate = torch.sigmoid(tau * (r - 1))
    torch.testing.assert_close(value, advantage * (4 / tau * (gate - 0.5) + 1))
    # the paper's weight of the gradient; 1 at r = 1
    torch.testing.assert_close(slope, advantage * 4 * gate * (1 - gate), rtol=1e-9, atol=1e-12)
    assert not blocked.any()


def test_the_soft_clip_lets_as_much_through_as_a_hard_one_of_its_width():
    # the integral of sech²((r − 1)/w) from 1 on is w
    value = held([1e9], 1.0, word_of("soft-clip", high=0.3))[0]
    assert value.tolist() == pytest.approx([1.3], abs=1e-12)


@pytest.mark.parametrize("width", [2e-6, 1e-4])
def test_the_soft_clip_is_exact_where_the_ratio_is_a_millionth_from_one(width):
    log = torch.tensor([-1e-3, -1e-6, 1e-12, 1e-4, 1e-2]).double() * width
    word = word_of("soft-clip", low=width, high=width)
    found = word(RatioTerms(log), context(randn(5, 3), randn(5, 3))).log_ratio
    # log(1 + w·tanh(x)) = l − l·x²/3 + …, with x = (e^l − 1)/w and l = log r
    torch.testing.assert_close(found, log * (1 - (log / width) ** 2 / 3), rtol=1e-8, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_soft_clip_of_a_ratio_beyond_all_numbers_has_a_gradient_of_zero(dtype):
    log = torch.tensor([-1e5, -50, 50, 90, 1e5], dtype=dtype, requires_grad=True)
    found = word_of("soft-clip")(RatioTerms(log), context(randn(5, 3), randn(5, 3))).log_ratio
    (gradient,) = torch.autograd.grad(found.sum(), log)
    assert found.isfinite().all()
    assert gradient.tolist() == [0.0] * 5


@pytest.mark.parametrize("advantage", [2.0, -2.0])
@pytest.mark.parametrize(("low", "high"), [(1, 0.2), (0.1, 0.2), (0.1, 0)])
def test_cispo_is_reinforce_with_a_bounded_weight(advantage, low, high):
    value, slope, blocked = held(RATIOS, advantage, word_of("cispo", low=low, high=high))
    r = torch.tensor(RATIOS, dtype=torch.float64)
    weight = r.clamp(1 - low, 1 + high)
    torch.testing.assert_close(value, advantage * weight)
    torch.testing.assert_close(slope, weight * advantage / r)  # ∇ log r = 1/r
    assert not blocked.any()


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("advantage", [2.0, -2.0])
def test_dual_clip_bounds_what_a_bad_sample_weighs(order, advantage):
    words = [word_of("ppo-clip", low=0.1, high=0.1), word_of("dual-clip", c=1.5)]
    value, slope, blocked = held(RATIOS, advantage, *words[::order])
    r, a = torch.tensor(RATIOS, dtype=torch.float64), advantage
    ppo = (r * a).minimum(r.clamp(0.9, 1.1) * a)
    want = ppo.maximum(torch.tensor(1.5 * a).double()) if a < 0 else ppo
    torch.testing.assert_close(value, want)
    free = (r < 1.1) if a > 0 else (r > 0.9) & (r < 1.5)
    assert blocked.tolist() == (~free).tolist()
    torch.testing.assert_close(slope, a * free.double())


@pytest.mark.parametrize("word", ["soft-clip", "dual-clip"])
def test_a_word_that_asks_for_the_advantages_sign_says_when_there_is_none(word):
    step = dataclasses.replace(context(randn(2, 3), randn(2, 3)), advantage=None)
    with pytest.raises(ValueError, match=f"{word} needs StepContext.advantage"):
        word_of(word)(RatioTerms(log_ratio(step)), step)


@pytest.mark.parametrize(
    ("word", "option", "value"),
    [
        ("ppo-clip", "low", 1),
        ("ppo-clip", "low", -1e-9),
        ("ppo-clip", "high", -1e-9),
        ("ppo-clip", "high", float("inf")),
        ("ppo-clip", "low", "wide"),
        ("soft-clip", "low", 0),
        ("soft-clip", "high", 0),
        ("cispo", "low", 1.1),
        ("cispo", "high", -1e-9),
        ("dual-clip", "c", 1),
        ("dppo-mask", "threshold", 0),
        ("dppo-mask", "threshold", float("nan")),
    ],
)
def test_options_out_of_range_are_refused_and_named(word, option, value):
    with pytest.raises(GuardcoreError, match=f"ratio_transform {word}.{option}: .*received"):
        create("ratio_transform", word, **{option: value})


@pytest.mark.parametrize(
    ("word", "option", "default"),
    [("ppo-clip", "low", 1e-4), ("ppo-clip", "high", 1e-4), ("dppo-mask", "threshold", 1e-5)],
)
def test_the_defaults_are_designs(word, option, default):
    step = context(0.01 * randn(5, 4), randn(5, 4))
    said, silent = applied(word, step, **{option: default}), applied(word, step)
    for a, b in zip(fields(said), fields(silent), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("word", CENTRING)
def test_words_without_options_refuse_any(word):
    with pytest.raises(GuardcoreError, match=f"ratio_transform {word}.low: unknown key"):
        create("ratio_transform", word, low=1e-4)
