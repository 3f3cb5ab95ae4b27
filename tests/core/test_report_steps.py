"""The report's figures by denoising step: rows written by hand, and what is drawn of them."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtri

from guardcore.report import write_report
from guardcore.report.canvas import style
from guardcore.report.densities import bins, density, reach, step_ratios
from guardcore.report.facts import facts
from guardcore.report.figures_by_step import bias_by_step, clip_by_sign, gradient_by_step
from guardcore.report.figures_of_ratios import ratio_histograms
from guardcore.report.groups import Group, group_runs
from guardcore.report.plots_by_step import share_plot, step_plots
from guardcore.report.read import RecordedRun, read_run
from guardcore.report.shares import share_curves, step_shares
from guardcore.report.steps import step_curves, step_figures
from guardcore.report.words import clip_bounds
from runs import rows, run

SINCE = ("ratio_quantiles", "log_ratio_raw", "clip_high_", "clip_low_", "grad_norm")
"""What ``steps.jsonl`` did not hold in the beginning, by how the keys begin."""


def group(*runs, label="plain", colour="#0072B2"):
    """Runs of these rows as one group of a report."""
    made = [
        RecordedRun(None, {"train": {"updates_per_iteration": 2}}, {}, (), steps, {}, None)
        for steps in runs
    ]
    return Group(label, colour, tuple(made))


def row(step=0, update=2, iteration=1, **figures):
    """A row of ``steps.jsonl``, all of whose ratios are 1 unless said."""
    found = {"iteration": iteration, "update": update, "step": step, "sigma": 1 - step / 4}
    found |= {"ratio_mean": 1.0, "ratio_std": 0.0, "k": 0.1, "clip_high": 0.0, "clip_low": 0.0}
    return found | figures


def normal(mean, std):
    """The 21 quantiles of ratios around ``1 + mean``; the ends where 1 of 1000 lies beyond."""
    levels = np.linspace(0, 1, 21).clip(1e-3, 1 - 1e-3)
    return (1 + mean + std * ndtri(levels)).tolist()


def drawn(line):
    return np.asarray(line.get_ydata(), dtype=float)


# ratio histograms


def test_ratios_between_two_quantiles_lie_evenly():
    even = np.linspace(-1, 1, 21)
    assert density([even], bins(1, 8)) == pytest.approx([1 / 8] * 8)
    assert density([even], bins(2, 8)) == pytest.approx([0, 0, *[1 / 4] * 4, 0, 0])


def test_updates_are_pooled_each_with_its_own_ratios():
    left, right = np.linspace(-1, 0, 21), np.linspace(0, 1, 21)
    assert density([left, left, left, right], bins(1, 2)) == pytest.approx([0.75, 0.25])


def test_ratios_that_are_all_one_lie_in_the_middle_bin():
    assert density([[0.0] * 21], bins(1, 5)).tolist() == [0, 0, 1, 0, 0]


def test_a_steps_ratios_are_those_of_later_updates_of_all_seeds():
    first = row(update=1, ratio_quantiles=normal(5, 1))
    one = [first, row(ratio_quantiles=normal(-1e-4, 1e-3), ratio_mean=1 - 1e-4)]
    other = [first, row(ratio_quantiles=normal(-3e-4, 1e-3), ratio_mean=1 - 3e-4)]
    (found,) = step_ratios(group(one, other))
    assert (found.step, found.sigma, len(found.quantiles)) == (0, 1, 2)
    assert found.excess == pytest.approx(-2e-4)
    assert found.spread == pytest.approx(1e-3, rel=0.05)  # 20 equal pieces of a normal curve


def test_a_few_far_ratios_do_not_set_the_spread():
    calm = [row(iteration=i, ratio_quantiles=normal(0, 1e-3)) for i in range(30)]
    wild = row(iteration=31, ratio_quantiles=normal(0, 1.0))
    with_it, without = (step_ratios(group(rows))[0] for rows in ([*calm, wild], calm))
    assert with_it.spread == pytest.approx(without.spread, rel=0.3)  # the std is 180 times as large


def test_the_common_scale_shows_the_widest_step_and_is_centred_on_one():
    rows = [row(0, ratio_quantiles=normal(0, 1e-4)), row(1, ratio_quantiles=normal(-0.01, 0.01))]
    steps = step_ratios(group(rows))
    assert 0.025 < reach(steps) < 0.035  # 1 + 2.5·std to the left of 0
    with style():
        joint, own = ratio_histograms(steps, (-1e-3, 2e-3), "#000").axes
    assert joint.get_xlim() == (-reach(steps), reach(steps))
    assert own.get_xlim()[0] == -own.get_xlim()[1]
    assert [tick.get_text() for tick in joint.get_yticklabels()] == ["0  (1.00)", "1  (.75)"]


def test_bounds_and_means_stand_where_they_are():
    rows = [
        row(0, ratio_quantiles=normal(0, 1e-4), ratio_mean=1 - 1e-5),
        row(1, ratio_quantiles=normal(0, 1e-2), ratio_mean=1 - 4e-3),
    ]
    steps = step_ratios(group(rows))
    with style():
        joint, own = ratio_histograms(steps, (-1e-3, 2e-3), "#000").axes
    bounds = [[s[0][0] for s in lines.get_segments()] for lines in joint.collections]
    assert bounds == [[-1e-3], [2e-3]] * 2
    # ten spreads away from the first step's ratios, a tenth of the second's
    seen = [line.get_segments()[0][0] for line in own.collections]
    assert [tuple(place) for place in seen] == [
        (pytest.approx(-1e-3 / steps[1].spread), -1),
        (pytest.approx(2e-3 / steps[1].spread), -1),
    ]
    means = [(x.get_xdata()[0], x.get_ydata()[0]) for x in joint.lines if x.get_marker() == "^"]
    assert means == [(pytest.approx(-1e-5), 0), (pytest.approx(-4e-3), -1)]


def test_many_steps_share_ten_rows():
    steps = step_ratios(group([row(step, ratio_quantiles=normal(0, 1)) for step in range(28)]))
    with style():
        joint, _ = ratio_histograms(steps, None, "#000").axes
    assert len(joint.get_yticks()) == 10


# what lies outside the bounds, by the advantage's sign


def test_solid_is_the_side_on_which_the_clip_takes_the_gradient():
    fractions = {"clip_high_positive": 0.4, "clip_low_positive": 0.1}
    fractions |= {"clip_high_negative": 0.2, "clip_low_negative": 0.3}
    curves = step_curves(group([row(0, **fractions), row(1, **fractions)]), thirds=False)
    with style():
        positive, negative = clip_by_sign(curves).axes
    found = {
        (axes is positive, line.get_linestyle()): drawn(line).tolist()
        for axes in (positive, negative)
        for line in axes.lines
        if line.get_marker() in ("^", "v")
    }
    assert found == {
        (True, "-"): [0.4, 0.4],
        (True, ":"): [-0.1, -0.1],
        (False, "-"): [-0.3, -0.3],
        (False, ":"): [0.2, 0.2],
    }


def test_updates_without_terms_of_a_sign_do_not_count_for_it():
    rows = [row(clip_high_positive=0.5), row(clip_high_positive=math.nan)]
    assert step_figures(rows)[0].high_positive == 0.5
    assert math.isnan(step_figures([row()])[0].high_positive)


# the bias


def test_the_bias_is_drawn_on_what_was_predicted_and_left_out_above_zero():
    rows = [
        row(0, log_ratio_raw_mean=-2e-3, log_ratio_raw_predicted=-1e-3),
        row(1, log_ratio_raw_mean=5e-4, log_ratio_raw_predicted=-4e-3),
    ]
    with style():
        axes = bias_by_step(step_curves(group(rows), thirds=False)).axes[0]
    predicted, measured = axes.lines
    assert drawn(predicted).tolist() == [1e-3, 4e-3]
    assert drawn(measured)[0] == 2e-3
    assert math.isnan(drawn(measured)[1])
    assert axes.get_yscale() == "log"


# the gradient's shares


def norms(*values, update=1, iteration=1):
    return [
        row(step, update=update, iteration=iteration, grad_norm=value)
        for step, value in enumerate(values)
        if value is not None
    ]


def test_a_share_is_a_norm_over_the_sum_whatever_an_updates_size():
    small, large = norms(1, 3), norms(500, 500, iteration=2)
    assert [point.share for point in step_shares([small])] == [0.25, 0.75]
    expected = pytest.approx([(0.25 + 0.5) / 2, (0.75 + 0.5) / 2])
    assert [point.share for point in step_shares([small + large])] == expected
    assert [point.share for point in step_shares([small, norms(500, 500)])] == expected


def test_updates_of_some_steps_count_for_those():
    windows = norms(1, 2, None) + norms(None, 2, 4, iteration=2) + norms(1, None, 4, iteration=3)
    points = step_shares([windows])
    assert sum(point.share for point in points) == pytest.approx(1)
    assert points[0].share < points[1].share < points[2].share


def test_rows_without_a_gradient_of_their_own_are_no_zeros():
    assert step_shares([[row(), row(1)]]) == ()
    assert share_curves(group([row(), row(grad_norm=math.nan)])) == []
    assert step_shares([norms(0, 0)]) == ()


def test_first_and_later_updates_are_told_apart_with_their_factors():
    plain = group(norms(1, 20) + norms(1, 4, update=2) + norms(2, 8, update=3))
    guard = group(norms(2, 5) + norms(0, 1, update=2), label="guard", colour="#D55E00")
    curves = share_curves(plain)
    assert [(curve.first, curve.factor) for curve in curves] == [(True, 20), (False, 4)]
    with style():
        both = share_plot([plain, guard])
        axes = gradient_by_step(curves).axes[0]
    assert "plain 20 in first updates, 4 in later ones; guard 2.5 in first updates, ∞ in" in (
        both.reading
    )
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "later updates",
        "first updates",
    ]
    names = [text.get_text() for text in both.figure.axes[0].get_legend().get_texts()]
    assert names == ["plain", "guard"]


# real runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of the toy that took every gradient apart."""
    made = tmp_path_factory.mktemp("runs") / "run"
    train = {"iterations": 4, "learning_rate": 0.05, "updates_per_iteration": 3}
    run(made, strategy="plain", train={**train, "step_gradients_every": 1})
    return made


def test_a_runs_rows_give_every_figure(folder):
    (found,) = group_runs([read_run(folder)])
    with style():
        names = [plot.name for plot in (*step_plots([found]), share_plot([found]))]
    assert names == [
        "ratio-histogram",
        "ratio-mean-by-step",
        "clip-by-step",
        "clip-by-sign",
        "ratio-std-by-step",
        "k-by-step",
        "bias-by-step",
        "gradient-by-step",
    ]


def test_the_histogram_of_a_run_has_its_mean(folder):
    (found,) = group_runs([read_run(folder)])
    edges = bins(reach(step_ratios(found)) * 20, 20001)
    middles = (edges[1:] + edges[:-1]) / 2
    points = step_curves(found, thirds=False)[0].points
    for step, point in zip(step_ratios(found), points, strict=True):
        mean = float((density(step.quantiles, edges) * middles).sum())
        assert step.excess == point.excess
        assert mean == pytest.approx(point.excess, abs=0.2 * point.spread)  # of 15 ratios


def test_a_run_that_recorded_less_has_its_old_figures(folder, tmp_path):
    old = shutil.copytree(folder, tmp_path / "old")
    kept = [
        {key: value for key, value in found.items() if not key.startswith(SINCE)}
        for found in rows(old, "steps")
    ]
    (old / "steps.jsonl").write_text("".join(json.dumps(found) + "\n" for found in kept))
    gone = ("diversity", "proxy", "gold", "alarm", "kl/")
    kept = [
        {key: value for key, value in found.items() if not key.startswith(gone)}
        for found in rows(old, "metrics")
    ]
    (old / "metrics.jsonl").write_text("".join(json.dumps(found) + "\n" for found in kept))
    page = write_report([old]).read_text(encoding="utf-8")
    assert "Is the reward still the goal" not in page
    assert {file.stem for file in (old / "figures").iterdir()} == {
        "held-out-brightness",
        "reward-brightness",
        "ratio-mean-by-step",
        "ratio-std-by-step",
        "clip-by-step",
        "k-by-step",
        "clip-by-iteration",
        "grad-norm",
        "seconds-by-phase",
    }


def test_an_old_and_a_new_run_stand_side_by_side(folder, tmp_path):
    new = read_run(folder)
    old = replace(
        new,
        config={**new.config, "strategy": "guardcore:guard"},
        steps=[{k: v for k, v in r.items() if not k.startswith(SINCE)} for r in new.steps],
    )
    with style():
        found = {plot.name: plot for plot in step_plots(group_runs([new, old]))}
    assert "ratio-histogram-1-plain" in found
    assert "ratio-histogram-2-guard" not in found
    assert len(found["clip-by-step"].figure.axes[0].get_legend().get_texts()) == 2
    assert found["clip-by-sign"].figure.axes[0].get_legend() is None


def test_a_range_that_the_run_has_found_is_the_one_that_is_drawn(folder):
    clip = {"use": "guardcore:ppo-clip", "low": 1e-4, "high": 1e-4, "range": "auto"}
    clip |= {"outside_fraction": 0.1, "calibration_iterations": 2}
    config = {**read_run(folder).config, "ratio": [{"use": "guardcore:ratio-norm"}, clip]}
    waiting = replace(read_run(folder), config=config, manifest={"calibrated": {}})
    assert clip_bounds({"ratio": waiting.words}) is None
    assert "ppo-clip (range auto, outside_fraction 0.1, calib" in facts(waiting)["Strategy"]
    width = {**clip, "low": 3e-3, "high": 3e-3, "range": None}
    found = replace(waiting, manifest={"calibrated": {"strategy guard: ratio.1": width}})
    assert clip_bounds({"ratio": found.words}) == (-3e-3, 3e-3)
    assert "ppo-clip (low 0.003, high 0.003, range calibrated)" in facts(found)["Strategy"]


def test_a_damaged_quantile_leaves_its_update_out():
    rows = [row(ratio_quantiles=normal(0, 1)), row(ratio_quantiles=[None] * 21)]
    assert len(step_ratios(group(rows))[0].quantiles) == 1
