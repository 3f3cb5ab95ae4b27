"""What is reported about the ratio, checked on terms written down by hand."""

import math

import pytest
import torch

from guardcore import RatioTerms, Step, StepContext, Transition, log_ratio
from guardcore.figures import UpdateFigures, headline
from guardcore.objective import Scored


def scored(
    ratio, d=0.0, low=0.9, high=1.2, clipped=None, reduction="mean", sigma=0.5, advantage=None
):
    rows = len(ratio)
    ones = torch.ones(rows).double()
    mean = torch.zeros(rows, 4).double()
    step = Step(torch.zeros(rows).long(), sigma * ones, sigma / 2 * ones, 0.9)
    context = StepContext(
        step,
        Transition(mean, 2 * ones, ones),
        Transition(mean + d, 2 * ones, ones),
        mean,
        reduction,
        None if advantage is None else torch.tensor(advantage, dtype=torch.float64),
    )
    log = torch.tensor(ratio, dtype=torch.float64).log()
    clipped = torch.tensor([False] * rows if clipped is None else clipped)
    return Scored(context, log, RatioTerms(log, low, high), clipped, -ones)


def row(*parts):
    figures = UpdateFigures()
    for part in parts:
        figures.add(3, part)
    (found,) = figures.rows(iteration=7, update=2)
    return found


def test_the_figures_of_a_few_ratios_by_hand():
    found = row(scored([0.8, 0.95, 1.0, 1.25], clipped=[True, False, False, False]))
    assert (found["iteration"], found["update"], found["step"], found["sigma"]) == (7, 2, 3, 0.5)
    assert found["ratio_mean"] == pytest.approx(1.0, abs=1e-12)
    assert found["ratio_std"] == pytest.approx(math.sqrt((0.04 + 0.0025 + 0.0625) / 4), rel=1e-12)
    logs = [math.log(r) for r in (0.8, 0.95, 1.0, 1.25)]
    assert found["log_ratio_mean"] == pytest.approx(sum(logs) / 4, abs=1e-12)
    # outside the bounds whatever the advantage's sign; blocked is what has no gradient
    assert (found["clip_low"], found["clip_high"], found["blocked"]) == (0.25, 0.25, 0.25)


def test_a_ratio_just_inside_its_bounds_is_inside():
    inside = row(scored([0.9 * (1 + 1e-12), 1.2 * (1 - 1e-12)]))
    assert (inside["clip_low"], inside["clip_high"]) == (0, 0)


def test_a_spread_of_a_millionth_around_one_survives():
    found = row(scored([1 - 1e-6, 1 + 1e-6], low=1 - 5e-7, high=1 + 5e-7))
    assert found["ratio_std"] == pytest.approx(1e-6, rel=1e-6)
    assert (found["clip_low"], found["clip_high"]) == (0.5, 0.5)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_k_is_summed_over_the_latents_whatever_the_reduction(reduction):
    # ‖d‖²/(2·std²) = 4·1/(2·4)
    assert row(scored([1.0, 1.0], d=1.0, reduction=reduction))["k"] == pytest.approx(0.5)


def test_the_clip_is_told_apart_by_the_sign_of_the_advantage():
    ratio, advantage = [1.3, 1.3, 1.3, 1.0, 0.5, 0.5, 1.0], [1.0, 2.0, -1.0, 3.0, 1.0, -2.0, 0.0]
    found = row(scored(ratio, advantage=advantage))
    assert (found["clip_high"], found["clip_low"]) == (pytest.approx(3 / 7), pytest.approx(2 / 7))
    assert (found["clip_high_positive"], found["clip_low_positive"]) == (0.5, 0.25)
    assert (found["clip_high_negative"], found["clip_low_negative"]) == (0.5, 0.5)


def test_a_sign_that_no_advantage_has_has_no_fraction():
    found = row(scored([1.3, 1.0], advantage=[1.0, 1.0]))
    assert found["clip_high_positive"] == 0.5
    assert math.isnan(found["clip_high_negative"])


def test_quantiles_go_from_the_smallest_ratio_to_the_largest():
    found = row(scored([1 + place / 20 for place in range(21)][::-1]))
    assert found["ratio_quantiles"] == pytest.approx([1 + place / 20 for place in range(21)])


@pytest.mark.parametrize(("reduction", "predicted"), [("mean", -0.125), ("sum", -0.5)])
def test_the_bias_is_predicted_under_the_runs_reduction(reduction, predicted):
    # d = 1 in each of 4 latents, std 2: reduce(d²)/(2·std²) = 1/8 or 4/8
    found = row(scored([0.8, 1.0], d=1.0, reduction=reduction))
    assert found["log_ratio_raw_predicted"] == pytest.approx(predicted)
    assert found["log_ratio_raw_mean"] == pytest.approx(math.log(0.8) / 2)


def test_samples_that_no_update_used_have_the_predicted_bias():
    # 4,000 draws in 64 latents: log r = −K/D ± sqrt(2K)/D, so the mean is off by 0.3 % of it
    generator = torch.Generator().manual_seed(0)
    rows, std, d = 4000, 0.5, 0.4
    old = Transition(torch.zeros(rows, 64), std * torch.ones(rows), torch.ones(rows))
    new = Transition(old.mean + d, old.std, old.velocity_gain)
    step = Step(torch.zeros(rows).long(), torch.full((rows,), 0.5), torch.zeros(rows), 0.9)
    x_next = old.draw(torch.randn(rows, 64, generator=generator))
    context = StepContext(step, old, new, x_next)
    raw = log_ratio(context)
    found = row(Scored(context, raw, RatioTerms(raw), torch.zeros(rows).bool(), raw))
    assert found["log_ratio_raw_predicted"] == pytest.approx(-(d**2) / (2 * std**2))
    error = math.sqrt(2 * found["k"] / rows) / 64
    assert abs(found["log_ratio_raw_mean"] - found["log_ratio_raw_predicted"]) < 4 * error


def test_micro_batches_of_one_step_are_joined_by_their_rows():
    signs = [1.0, -1.0, 1.0, -1.0]
    joined = row(scored([0.5], advantage=signs[:1]), scored([1.0, 1.5, 2.0], advantage=signs[1:]))
    whole = row(scored([0.5, 1.0, 1.5, 2.0], advantage=signs))
    assert joined.pop("ratio_quantiles") == pytest.approx(whole.pop("ratio_quantiles"))
    assert joined == pytest.approx(whole)


def test_steps_are_reported_in_their_order():
    figures = UpdateFigures()
    for step in (2, 0, 1):
        figures.add(step, scored([1.0], sigma=0.9 - step / 10))
    assert [(r["step"], r["sigma"]) for r in figures.rows(1, 1)] == [
        (0, pytest.approx(0.9)),
        (1, pytest.approx(0.8)),
        (2, pytest.approx(0.7)),
    ]


def figures(*ratio):
    made = UpdateFigures()
    if ratio:
        made.add(0, scored(list(ratio)))
    return made


def test_the_headline_leaves_the_first_update_out():
    found = headline([figures(1.0, 1.0), figures(0.5, 1.1), figures(1.5, 1.3)])
    assert found["ratio/mean"] == pytest.approx(1.1)
    assert (found["clip/low"], found["clip/high"]) == (0.25, 0.5)


def test_the_headline_of_a_lone_update_is_its_own():
    assert headline([figures(1.0, 1.2)])["ratio/mean"] == pytest.approx(1.1)


def test_where_nothing_was_scored_there_is_no_headline():
    assert headline([figures(), figures()]) == {}
    assert figures().all() is None
