"""The published formulas with the bugs that implementations have had: each broken law is named."""

import re
from dataclasses import replace

import pytest
import torch

from guardcore import RatioTerms, per_row, promote
from guardcore.testing import check_gradient_weight, check_penalty, check_ratio_transform
from laws import broken

# --- Ratio transforms: RatioNorm, std·(log r + bias), Eq. 8 --------------------------------------


def bias_averaged_over_the_batch(terms, context):
    std = promote(context.old.std)
    return replace(terms, log_ratio=std * (terms.log_ratio + context.bias.mean()))


def std_averaged_over_rows(terms, context):
    return replace(terms, log_ratio=context.old.std.mean() * (terms.log_ratio + context.bias))


def std_over_the_last_dimension(terms, context):
    """``[B]`` against ``[B, …, B]``: no error where the latents are as wide as the batch."""
    std = (
        context.old.std
        if context.d.shape[-1] == len(context.d)
        else per_row(context.old.std, context.d)
    )
    return replace(terms, log_ratio=terms.log_ratio + context.reduce(context.d**2 / (2 * std**2)))


def ratio_against_latents(terms, context):
    """``(B,) × (B, 1, 1)`` is ``[B, 1, B]``."""
    return replace(terms, log_ratio=terms.log_ratio * context.old.std.reshape(-1, 1, 1))


def dead_gradient(terms, context):
    return replace(terms, log_ratio=(context.old.std * (terms.log_ratio + context.bias)).detach())


def new_velocity_under_no_grad(terms, context):
    with torch.no_grad():
        return replace(terms, log_ratio=context.old.std * (terms.log_ratio + context.bias))


def in_place(terms, context):
    terms.log_ratio.mul_(context.old.std)
    return terms


def bounds_in_place(terms, context):
    return replace(terms, high=terms.high.clamp_(max=1 + 1e-4))


def with_a_running_mean(terms, context):
    with_a_running_mean.seen = getattr(with_a_running_mean, "seen", 0.0) + float(
        terms.log_ratio.detach().sum()
    )
    return replace(terms, log_ratio=terms.log_ratio * (1 + with_a_running_mean.seen))


def infinite_at_full_noise(terms, context):
    return replace(terms, log_ratio=terms.log_ratio / (1 - context.step.sigma))


def nan_where_nothing_moved(terms, context):
    size = context.reduce(context.d**2)
    return replace(terms, log_ratio=terms.log_ratio + size * context.bias / size)


def in_half_precision(terms, context):
    return replace(terms, log_ratio=terms.log_ratio.half().double())


def in_brain_floats(terms, context):
    return replace(terms, log_ratio=terms.log_ratio.bfloat16().double())


def ratio_in_single_precision(terms, context):
    return replace(terms, log_ratio=terms.log_ratio.exp().float().double().log())


def left_in_single_precision(terms, context):
    return replace(terms, log_ratio=(context.old.std * (terms.log_ratio + context.bias)).float())


def shifted(terms, context):
    return replace(terms, log_ratio=terms.log_ratio + 1e-6)


def bounds_beside_one(terms, context):
    return replace(terms, low=terms.low.clamp(min=1 + 1e-4), high=terms.high.clamp(max=1 + 2e-4))


def bounds_crossed(terms, context):
    far = context.bias > 1e-5
    return replace(terms, low=terms.low.masked_fill(far, 1.1), high=terms.high.masked_fill(far, 1))


def bounds_forgotten(terms, context):
    return RatioTerms(context.old.std * (terms.log_ratio + context.bias))


@pytest.mark.parametrize(
    ("transform", "law"),
    [
        (bias_averaged_over_the_batch, "rows-independent"),
        (std_averaged_over_rows, "rows-independent"),
        (std_over_the_last_dimension, "rows-independent"),
        (ratio_against_latents, "one-number-a-row"),
        (dead_gradient, "gradient-flows"),
        (new_velocity_under_no_grad, "gradient-flows"),
        (in_place, "pure"),
        (bounds_in_place, "pure"),
        (with_a_running_mean, "pure"),
        (infinite_at_full_noise, "finite"),
        (nan_where_nothing_moved, "finite"),
        (in_half_precision, "precise"),
        (in_brain_floats, "precise"),
        (ratio_in_single_precision, "precise"),
        (left_in_single_precision, "dtype-kept"),
        (shifted, "unchanged-without-change"),
        (bounds_beside_one, "unchanged-without-change"),
        (bounds_crossed, "bounds-in-order"),
        (bounds_forgotten, "bounds-never-widen"),
    ],
)
def test_a_ratio_transform_with_a_bug_breaks_the_law_that_forbids_it(transform, law):
    assert broken(check_ratio_transform, transform).law == law


def test_a_bias_averaged_over_the_batch_is_shown_with_two_rows():
    error = broken(check_ratio_transform, bias_averaged_over_the_batch)
    assert re.match(
        r"log_ratio of row 0 is \S+ in the batch of rows \[0, 1\] and \S+ in that of \[\d\]",
        error.reason,
    )
    assert "c = step_context(2, (1,), steps=[0, 0], change=0.01, seed=0)" in error.case
    assert str(error).startswith("ratio transform 'bias_averaged_over_the_batch' breaks the law")


# --- Gradient weights: inverse-dt, 1/dt, Eq. 12 --------------------------------------------------


def dt_averaged_over_rows(context):
    return (1 / context.step.dt.mean()).expand(len(context.step.dt))


def one_for_all(context):
    return 1 / context.step.dt.mean()


def shaped_for_latents(context):
    return (1 / context.step.dt).reshape(-1, 1, 1, 1)


def number(context):
    return 1.0


def dt_the_wrong_way_round(context):
    return 1 / (context.step.sigma_next - context.step.sigma)


def of_the_noise_ratio(context):
    return context.step.sigma / (1 - context.step.sigma)


def of_the_change(context):
    return 1 + context.bias


def step_changed_in_place(context):
    return 1 / context.step.sigma.sub_(context.step.sigma_next)


def rounded(context):
    return (1 / context.step.dt).half()


@pytest.mark.parametrize(
    ("weight", "law"),
    [
        (dt_averaged_over_rows, "rows-independent"),
        (one_for_all, "one-number-a-row"),
        (shaped_for_latents, "one-number-a-row"),
        (number, "one-number-a-row"),
        (dt_the_wrong_way_round, "positive"),
        (of_the_noise_ratio, "finite"),
        (of_the_change, "no-gradient"),
        (step_changed_in_place, "pure"),
        (rounded, "one-number-a-row"),
    ],
)
def test_a_gradient_weight_with_a_bug_breaks_the_law_that_forbids_it(weight, law):
    assert broken(check_gradient_weight, weight).law == law


# --- Penalties: kl, reduce((mean_new − mean_reference)²)/(2·std²) --------------------------------


def gap(context):
    return promote(context.new.mean) - promote(context.reference.mean)


def kl_averaged_over_the_batch(context):
    kl = context.reduce(gap(context) ** 2) / (2 * context.old.std**2)
    return kl.mean().expand(len(kl))


def kl_to_the_old_policy(context):
    return context.bias


def kl_without_the_square(context):
    return context.reduce(gap(context)) / (2 * context.old.std**2)


def kl_without_gradient(context):
    return (context.reduce(gap(context) ** 2) / (2 * context.old.std**2)).detach()


def kl_summed_to_a_number(context):
    return (gap(context) ** 2).mean()


def kl_over_what_is_left(context):
    return context.reduce(gap(context) ** 2) / (1 - context.step.sigma)


@pytest.mark.parametrize(
    ("penalty", "law"),
    [
        (kl_averaged_over_the_batch, "rows-independent"),
        (kl_to_the_old_policy, "nothing-at-the-reference"),
        (kl_without_the_square, "never-negative"),
        (kl_without_gradient, "gradient-flows"),
        (kl_summed_to_a_number, "one-number-a-row"),
        (kl_over_what_is_left, "finite"),
    ],
)
def test_a_penalty_with_a_bug_breaks_the_law_that_forbids_it(penalty, law):
    assert broken(check_penalty, penalty).law == law


def test_only_a_penalty_that_claims_it_must_not_be_negative():
    check_penalty(kl_without_the_square, non_negative=False)
