import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guardcore import (
    RatioTerms,
    Step,
    StepContext,
    Transition,
    log_prob,
    log_ratio,
    surrogate,
)

REDUCTIONS = pytest.mark.parametrize("reduction", ["mean", "sum"])


def context(d, std, noise, reduction="mean", std_new=None):
    """A step whose old mean is random and whose new one lies ``d`` beside it."""
    rows = len(std)
    old_mean = torch.randn(d.shape, dtype=d.dtype, generator=torch.Generator().manual_seed(1))
    ones = torch.ones(rows, dtype=d.dtype)
    old = Transition(old_mean, std, ones)
    return StepContext(
        step=Step(torch.zeros(rows).long(), ones, ones / 2, 0.5),
        old=old,
        new=Transition(old_mean + d, std if std_new is None else std_new, ones),
        x_next=old.draw(noise),
        reduction=reduction,
    )


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@REDUCTIONS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_equal_transitions_have_a_log_ratio_of_exactly_zero(reduction, dtype):
    d = torch.zeros(3, 4, 8, 8, dtype=dtype)
    step = context(d, torch.tensor([0.1, 1.0, 2.0], dtype=dtype), randn(3, 4, 8, 8), reduction)
    assert log_ratio(step).tolist() == [0.0, 0.0, 0.0]


@REDUCTIONS
@given(seed=st.integers(0, 2**31), scale=st.floats(1e-4, 2), same_std=st.booleans())
def test_the_log_ratio_is_the_difference_of_the_log_densities(reduction, seed, scale, same_std):
    d, std = scale * randn(3, 2, 4, seed=seed), torch.tensor([0.2, 1.0, 3.0]).double()
    step = context(d, std, randn(3, 2, 4, seed=seed + 1), reduction, std if same_std else 1.5 * std)
    difference = log_prob(step.x_next, step.new, reduction) - log_prob(
        step.x_next, step.old, reduction
    )
    # 1e-12 of the densities, which are of order 1 to 100 here
    torch.testing.assert_close(log_ratio(step), difference, rtol=1e-9, atol=1e-11)


def test_float32_keeps_the_millionth_that_a_clip_range_of_2e_6_is_about():
    # rms(d)/std = 1e-3: log r is about 1e-3·N(0, 1)/sqrt(D) ~ 1.6e-5, a density about 1. What is
    # lost comes from rounding d itself, 6e-8·|mean|/|d| ~ 1e-4 of each term, averaged over D.
    d, std, noise = 1e-3 * randn(8, 4, 32, 32), torch.ones(8).double(), randn(8, 4, 32, 32, seed=2)
    exact = context(d, std, noise)
    rounded = StepContext(
        step=exact.step,
        old=Transition(exact.old.mean.float(), std.float(), std.float()),
        new=Transition(exact.new.mean.float(), std.float(), std.float()),
        x_next=exact.x_next.float(),
    )
    result = log_ratio(rounded)
    assert result.dtype == torch.float64
    assert float((result - log_ratio(exact)).abs().max()) < 2e-8


@REDUCTIONS
def test_the_bias_is_the_reduced_square_over_twice_the_variance(reduction):
    d = torch.tensor([[[1.0, 2.0]], [[3.0, -4.0]]])
    step = context(d, torch.tensor([1.0, 2.0]), torch.zeros(2, 1, 2), reduction)
    torch.testing.assert_close(step.d, d)
    sums = [5 / 2, 25 / 8]
    want = sums if reduction == "sum" else [value / 2 for value in sums]
    torch.testing.assert_close(step.bias, torch.tensor(want))


@REDUCTIONS
def test_the_old_distribution_sees_the_log_ratio_k_below_zero(reduction):
    # Under the old distribution E[log r] = −K and Var[log r] = 2K, K = ‖d‖²/(2·std²); with the
    # mean convention both of log r·D. 5 standard errors are 1 in 10⁶.
    rows, dimensions, std = 20_000, 16, 0.5
    one = 0.3 * randn(dimensions)
    k = float((one**2).sum()) / (2 * std**2)
    step = context(
        one.expand(rows, dimensions),
        torch.full((rows,), std).double(),
        randn(rows, dimensions, seed=3),
        reduction,
    )
    values = log_ratio(step) * (dimensions if reduction == "mean" else 1)
    assert abs(float(values.mean()) + k) < 5 * (2 * k / rows) ** 0.5
    assert float(values.std()) == pytest.approx((2 * k) ** 0.5, rel=5 / (2 * rows) ** 0.5)
    if reduction == "sum":  # the true ratio: E[r] = 1; Var[r] = exp(2K) − 1
        error = ((torch.tensor(2 * k).exp() - 1) / rows) ** 0.5
        assert abs(float(values.exp().mean()) - 1) < 5 * float(error)


def test_a_context_cannot_be_changed():
    step = context(torch.zeros(1, 2), torch.ones(1), torch.zeros(1, 2))
    for change in ({"advantage": torch.ones(1)}, {"x_next": torch.ones(1, 2)}):
        ((name, value),) = change.items()
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(step, name, value)


def test_a_chain_starts_without_bounds():
    terms = RatioTerms(torch.tensor([0.1, -0.2]).double())
    assert terms.low.tolist() == [0, 0]
    assert terms.high.tolist() == [torch.inf, torch.inf]
    assert terms.low.dtype == terms.high.dtype == torch.float64
    assert terms.blocked.dtype == torch.bool
    assert terms.blocked.tolist() == [False, False]


def terms_of(ratio, low=0.8, high=1.2):
    return RatioTerms(torch.tensor(ratio).double().log(), low, high)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped"),
    [
        (1.0, 2.0, -2.0, False),
        (1.5, 2.0, -2.4, True),  # a good sample has become likely enough
        (0.5, 2.0, -1.0, False),  # a good sample has become unlikely: bring it back
        (1.5, -2.0, 3.0, False),  # a bad sample has become likely: push it away
        (0.5, -2.0, 1.6, True),  # a bad sample has become unlikely enough
        (1.5, 0.0, 0.0, False),
    ],
)
def test_the_surrogate_takes_the_smaller_of_the_free_and_the_clamped_gain(
    ratio, advantage, loss, clipped
):
    result = surrogate(terms_of([ratio]), torch.tensor([advantage]).double(), torch.ones(1))
    assert result.loss.tolist() == pytest.approx([loss], abs=1e-12)
    assert result.clipped.tolist() == [clipped]


@given(
    st.lists(
        st.tuples(st.floats(0.5, 2), st.floats(-3, 3), st.floats(0.1, 9)), min_size=1, max_size=6
    )
)
def test_clipped_terms_and_only_those_have_no_gradient(rows):
    ratio, advantage, weight = (torch.tensor(column).double() for column in zip(*rows, strict=True))
    log = ratio.log().requires_grad_()
    result = surrogate(RatioTerms(log, 0.9, 1.1), advantage, weight)
    (gradient,) = torch.autograd.grad(result.loss.sum(), log)
    want = torch.where(result.clipped, 0.0, -weight * log.detach().exp() * advantage)
    torch.testing.assert_close(gradient, want, rtol=1e-12, atol=0)


def test_a_row_that_a_word_blocks_keeps_its_loss_and_loses_its_gradient():
    log = torch.tensor([0.1, 0.1, 0.5]).double().requires_grad_()
    ones = torch.ones(3).double()
    free = surrogate(RatioTerms(log, 0.8, 1.2), ones, ones)
    blocked = torch.tensor([True, False, False])
    result = surrogate(RatioTerms(log, 0.8, 1.2, blocked), ones, ones)
    assert torch.equal(result.loss, free.loss)
    assert free.clipped.tolist() == [False, False, True]
    assert result.clipped.tolist() == [True, False, True]
    (gradient,) = torch.autograd.grad(result.loss.sum(), log)
    assert gradient.sign().tolist() == [0.0, -1.0, 0.0]


def test_at_ratio_one_the_gradient_is_reinforces():
    d = torch.zeros(4, 3).double().requires_grad_()
    step = context(d, torch.tensor([0.5, 1.0, 2.0, 3.0]).double(), randn(4, 3), "sum")
    advantage, weight = torch.tensor([1.0, -2.0, 0.5, 0.0]).double(), randn(4, seed=5).abs()
    result = surrogate(RatioTerms(log_ratio(step)), advantage, weight)
    (gradient,) = torch.autograd.grad(result.loss.sum(), d, retain_graph=True)
    score = torch.autograd.grad(log_prob(step.x_next, step.new, "sum").sum(), d)[0]
    torch.testing.assert_close(
        gradient, -(weight * advantage)[:, None] * score, rtol=1e-12, atol=1e-15
    )


@pytest.mark.parametrize("shape", [(3, 1), (1, 3), (1,), (), (3, 1, 1)])
@pytest.mark.parametrize("which", ["advantage", "weight"])
def test_a_column_against_a_row_is_refused(which, shape):
    values = {"advantage": torch.ones(3), "weight": torch.ones(3)} | {which: torch.ones(shape)}
    with pytest.raises(ValueError, match=rf"{which} must be \[B\] like log_ratio \[3\]"):
        surrogate(RatioTerms(torch.zeros(3)), **values)


@pytest.mark.parametrize("shape", [(3, 1), (1,), (3, 1, 1)])
@pytest.mark.parametrize("which", ["low", "high", "blocked"])
def test_bounds_that_are_no_row_of_numbers_are_refused(which, shape):
    terms = RatioTerms(torch.zeros(3), **{which: torch.ones(shape)})
    with pytest.raises(ValueError, match=rf"{which} must be \[B\]"):
        surrogate(terms, torch.ones(3), torch.ones(3))
