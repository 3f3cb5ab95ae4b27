import pytest
import torch

from guardcore import (
    GuardcoreError,
    RatioTerms,
    Schedule,
    StepContext,
    create,
    log_ratio,
    surrogate,
)

WEIGHTS = ["uniform", "inverse-dt", "dance", "flat", "noise-scale", "noise-aware"]
EACH = pytest.mark.parametrize("name", WEIGHTS)
STEPS = 7


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def context(index=None, sampler="flow-sde", velocity_change=None, dimensions=6):
    """Rows at the given steps; the new velocity differs from the old by ``velocity_change``."""
    index = torch.arange(STEPS) if index is None else torch.tensor(index)
    rows = len(index)
    step = Schedule(torch.linspace(1, 0, STEPS + 2, dtype=torch.float64)).step(index, rows)
    x, velocity = randn(rows, dimensions), randn(rows, dimensions, seed=1)
    built = create("sampler", sampler)
    old = built.transition(velocity, x, step)
    new = (
        built.transition(velocity + velocity_change, x, step)
        if velocity_change is not None
        else old
    )
    return StepContext(step, old, new, old.draw(torch.ones(rows, dimensions)))


FORMULAS = {
    "uniform": lambda c: torch.ones(len(c.step.sigma)).double(),
    "inverse-dt": lambda c: 1 / (c.step.sigma - c.step.sigma_next),
    "dance": lambda c: c.old.velocity_gain / (c.step.sigma - c.step.sigma_next) ** 2,
    "flat": lambda c: 1 / c.old.velocity_gain,
    "noise-scale": lambda c: c.old.std,
    "noise-aware": lambda c: 2.25 * c.old.std,
}


@EACH
@pytest.mark.parametrize("sampler", ["flow-sde", "dance-sde", "cps"])
def test_a_weight_is_designs_formula_one_positive_number_a_row(name, sampler):
    step = context(sampler=sampler)
    weight = create("gradient_weight", name)(step)
    assert weight.shape == (STEPS,)
    assert weight.isfinite().all()
    assert (weight > 0).all()
    torch.testing.assert_close(weight, FORMULAS[name](step), rtol=1e-12, atol=0)


@EACH
def test_rows_of_different_steps_keep_their_own_dt(name):
    weigh = create("gradient_weight", name)
    order = [4, 0, 6, 2]
    together = weigh(context(order))
    alone = torch.cat([weigh(context([index])) for index in order])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=0)


def strength(ratio, weight, sampler):
    """How strongly each step pulls at the velocity at ratio 1, in units of the noise drawn.

    With the mean convention ``∂(log r)/∂v = −velocity_gain/(std·D)·noise``; noise is 1 here.
    """
    change = torch.zeros(STEPS, 6).double().requires_grad_()
    step = context(sampler=sampler, velocity_change=change)
    terms = RatioTerms(log_ratio(step))
    for word in ratio:
        terms = create("ratio_transform", word)(terms, step)
    weights = create("gradient_weight", weight)(step)
    loss = surrogate(terms, torch.ones(STEPS).double(), weights).loss.sum()
    (gradient,) = torch.autograd.grad(loss, change)
    torch.testing.assert_close(gradient, gradient[:, :1].expand_as(gradient), rtol=1e-9, atol=0)
    return gradient[:, 0] * 6


@pytest.mark.parametrize(
    ("ratio", "weight", "sampler", "left"),
    [
        ([], "noise-scale", "flow-sde", lambda gain, dt, std: gain),
        ([], "uniform", "flow-sde", lambda gain, dt, std: gain / std),
        (["ratio-norm"], "uniform", "flow-sde", lambda gain, dt, std: gain),
        (["ratio-norm"], "inverse-dt", "flow-sde", lambda gain, dt, std: gain / dt),  # β
        (["ratio-norm"], "dance", "dance-sde", lambda gain, dt, std: (gain / dt) ** 2),  # β²
        (["ratio-norm"], "flat", "flow-sde", lambda gain, dt, std: torch.ones(STEPS)),
        (["flat-norm"], "uniform", "dance-sde", lambda gain, dt, std: torch.ones(STEPS)),
    ],
)
def test_what_ratio_and_weight_together_leave_of_the_gradient(ratio, weight, sampler, left):
    old = context(sampler=sampler).old
    dt = context().step.dt
    want = left(old.velocity_gain, dt, old.std).double()
    torch.testing.assert_close(strength(ratio, weight, sampler), want, rtol=1e-9, atol=0)


@EACH
def test_no_weight_depends_on_the_weights_being_trained(name):
    change = torch.zeros(STEPS, 6).double().requires_grad_()
    weight = create("gradient_weight", name)(context(velocity_change=change))
    moved = create("gradient_weight", name)(context(velocity_change=change.detach() + 1))
    assert not weight.requires_grad
    assert torch.equal(weight, moved)


@pytest.mark.parametrize("name", WEIGHTS[:-1])
def test_weights_without_options_refuse_any(name):
    with pytest.raises(GuardcoreError, match=f"gradient_weight {name}.scale: unknown key"):
        create("gradient_weight", name, scale=2)


def test_noise_aware_has_mean_one_over_sd3s_ten_steps():
    # diffusers' flow-matching schedule with shift 3, whose last step is not trained
    even = torch.linspace(1, 3e-3 / 1.002, 10, dtype=torch.float64)
    sigmas = torch.cat([3 * even / (1 + 2 * even), torch.zeros(1)])
    step = Schedule(sigmas).step(torch.arange(9), 9)
    still = torch.zeros(9, 1).double()
    old = create("sampler", "flow-sde", noise_level=0.7).transition(still, still, step)
    weight = create("gradient_weight", "noise-aware")(StepContext(step, old, old, still))
    assert float(weight.mean()) == pytest.approx(1, abs=2e-3)  # 2.25 has three digits
    assert (
        create("gradient_weight", "noise-aware", scale=1)(
            StepContext(step, old, old, still)
        ).tolist()
        == old.std.tolist()
    )


def test_flow_sdes_beta_is_one_at_pure_noise_and_a_constant_below_it():
    # β = 1 + g²(1−sigma)/(2·sigma) = 1 + eta²/2 wherever sigma ≤ sigma_max
    step = context()
    beta = step.old.velocity_gain / step.step.dt
    want = torch.tensor([1.0] + [1 + 0.7**2 / 2] * (STEPS - 1), dtype=torch.float64)
    torch.testing.assert_close(beta, want, rtol=1e-12, atol=0)
