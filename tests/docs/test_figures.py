"""What the pictures and the text around them say, computed anew from the real components."""

import pytest
import torch

from pages import DOCS

ROWS = 2
D = 65_536


@pytest.fixture(scope="module")
def measure():
    import measure

    return measure


@pytest.mark.parametrize(
    ("words", "apart"), [((), 26.1), (("ratio-norm",), 8.4), (("flat-norm",), 1.0)], ids=str
)
def test_one_change_of_velocity_spreads_the_ratio_unequally(measure, words, apart):
    # velocity_gain/std, velocity_gain and 1 over SD3's nine trained steps
    assert measure.ratio_between(measure.spreads(words, ROWS)) == pytest.approx(apart, rel=5e-3)


@pytest.mark.parametrize(
    ("strategy", "apart"),
    [
        ("plain", 26.1),
        ("temp-reweight", 8.4),
        ("mean-revised", 26.1),
        ("ratio-norm", 8.4),
        ("guard", 1.245),  # β = 1 + eta²/2 against 1 at sigma = 1
        ("guard-dance", 2.68),  # β²
        ("dppo", 26.1),
    ],
)
def test_the_gradients_of_a_strategy_are_as_far_apart_as_its_title_says(measure, strategy, apart):
    figures = measure.step_figures(strategy, ROWS)
    assert len(figures) == 9
    gradients = [step.gradient for step in figures]
    assert measure.ratio_between(gradients) == pytest.approx(apart, rel=5e-3)
    assert (DOCS / "figures" / f"strategy-{strategy}.svg").is_file()


def test_plain_never_clips_above_and_guard_clips_on_both_sides(measure):
    rows = 64  # enough for both tails of the first step
    plain, guard = (measure.step_figures(name, rows) for name in ("plain", "guard"))
    assert all(bool((step.excess < step.high).all()) for step in plain)
    assert bool((plain[-1].excess < plain[-1].low).any())
    for step in guard:
        assert bool((step.excess > step.high).any())
        assert bool((step.excess < step.low).any())


@pytest.mark.parametrize(
    ("strategy", "good", "bad"),
    [  # r − 1 from −3 to 12 half-widths; without a clip all of the gradient passes
        ("guard", [1, 1, 1, 0, 0, 0], [0, 1, 1, 1, 1, 1]),
        ("clip-higher", [1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1]),
        ("dual-clip", [1, 1, 1, 0, 0, 0], [0, 1, 1, 1, 1, 0]),
        ("cispo", [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]),
    ],
)
def test_the_gates_let_through_what_the_picture_shows(measure, strategy, good, bad):
    places = torch.tensor([-3, -0.5, 0, 1.2, 3, 12], dtype=torch.float64)
    for advantage, want in ((1.0, good), (-1.0, bad)):
        found = measure.gate(strategy, places, advantage)
        # cispo's weight is within 1e-5 of 1
        torch.testing.assert_close(found, torch.tensor(want).to(found), rtol=0, atol=1e-4)
    assert (DOCS / "figures" / "gates.svg").is_file()


def test_the_soft_gate_fades_on_both_sides(measure):
    places = torch.tensor([-3, -0.5, 0, 1.2, 12], dtype=torch.float64)
    for advantage, width in ((1.0, 1), (-1.0, 0.95)):
        found = measure.gate("soft-clip", places, advantage)
        torch.testing.assert_close(found, (places / width).cosh() ** -2, rtol=0, atol=1e-4)


@pytest.mark.parametrize("k", [0.2, 2, 20])
def test_the_ratio_lies_left_of_1_by_its_bias(measure, k):
    values = measure.shifted(k, 64)
    # antithetic noise: the mean of log r is the bias to rounding
    torch.testing.assert_close(values.mean().item(), -k / D, rtol=1e-3, atol=0)
    # the relative error of a standard deviation from 32 independent rows is 1/8
    assert values.mean() / values.std() == pytest.approx(-((k / 2) ** 0.5), rel=0.35)
