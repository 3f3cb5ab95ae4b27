"""The samplers on problems that have an answer: Gaussian data, autograd, the limit of no noise."""

import functools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guardcore import GuardcoreError, Schedule, create

STOCHASTIC = ["flow-sde", "dance-sde", "cps"]
SHIFT = 3.0
sampler_of = functools.cache(functools.partial(create, "sampler"))  # stateless: one will do


def schedule(steps, first=1.0):
    """Evenly spaced levels from ``first`` to 0, shifted as SD3's are."""
    levels = torch.linspace(first, 0, steps + 1, dtype=torch.float64)
    return Schedule(SHIFT * levels / (1 + (SHIFT - 1) * levels))


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def gaussian_velocity(x, sigma, mean, std):
    """``E[noise − x0 | x]`` for data N(mean, std²): the only velocity with a closed form."""
    sigma = sigma.reshape(-1, *[1] * (x.ndim - 1))
    away = (x - (1 - sigma) * mean) / ((1 - sigma) ** 2 * std**2 + sigma**2)
    return sigma * away - (mean + (1 - sigma) * std**2 * away)


def propagate(name, levels, mean, std, noise_level=0.7):
    """Yield (sigma_next, mean, variance) of x after each step but the last, exactly.

    Every step is affine in x, so probing it at 0 and 1 gives the recursion of the moments: no
    Monte-Carlo error is left, only the sampler's own discretisation.
    """
    sampler, steps, first = sampler_of(name, noise_level=noise_level), len(levels), levels.sigmas[0]
    m, variance = (1 - first) * mean, (1 - first) ** 2 * std**2 + first**2
    for index in range(steps - 1):
        step = levels.step(index, 2)
        x = torch.tensor([[0.0], [1.0]]).double()
        t = sampler.transition(gaussian_velocity(x, step.sigma, mean, std), x, step)
        offset, slope = t.mean[0, 0], t.mean[1, 0] - t.mean[0, 0]
        m, variance = slope * m + offset, slope**2 * variance + t.std[0] ** 2
        yield step.sigma_next[0], m, variance


@pytest.mark.parametrize("name", ["flow-sde", "dance-sde"])
def test_the_sdes_keep_the_flows_marginals_whatever_their_noise(name):
    mean, std = 1.5, 0.5
    # Euler–Maruyama's moments are of first order in dt: halving dt halves the error (within 20 %),
    # and 400 steps leave 1e-2. From below 1 only: flow-sde's g is infinite at sigma = 1.
    errors = []
    for steps in (200, 400):
        worst = 0.0
        for sigma, m, variance in propagate(name, schedule(steps, 0.9), mean, std):
            want = (1 - sigma) ** 2 * std**2 + sigma**2
            worst = max(worst, abs(m - (1 - sigma) * mean), abs(variance - want))
        errors.append(float(worst))
    assert errors[1] < 1e-2
    assert 1.6 < errors[0] / errors[1] < 2.4


@pytest.mark.parametrize("noise_level", [0.3, 0.7, 1.0])
def test_cps_is_at_exactly_the_noise_level_that_the_schedule_asks_for(noise_level):
    # With a single point as data the prediction is exact, and so is every step, however few.
    for sigma, m, variance in propagate("cps", schedule(5), 1.5, 0.0, noise_level):
        assert float(m) == pytest.approx(float((1 - sigma) * 1.5), rel=1e-12)
        assert float(variance) == pytest.approx(float(sigma**2), rel=1e-12)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_simulated_trajectories_have_the_propagated_moments(name):
    # n draws leave std/sqrt(n) on the mean and std/sqrt(2n) on the std: 5 of each is 1 in 10⁶.
    n, steps, mean, std = 20_000, 12, 1.5, 0.5
    sampler, levels = sampler_of(name), schedule(steps)
    x = randn(n, 1)
    for index, (_, m, variance) in enumerate(propagate(name, levels, mean, std)):
        step = levels.step(index, n)
        t = sampler.transition(gaussian_velocity(x, step.sigma, mean, std), x, step)
        x = t.draw(randn(n, 1, seed=index + 1))
        spread = float(variance.sqrt())
        assert abs(float(x.mean() - m)) < 5 * spread / n**0.5
        assert abs(float(x.std()) - spread) < 5 * spread / (2 * n) ** 0.5


@pytest.mark.parametrize("name", [*STOCHASTIC, "ode"])
@settings(max_examples=15)  # each looks the sampler up anew
@given(steps=st.integers(2, 12), level=st.floats(0.05, 1), seed=st.integers(0, 2**31))
def test_the_velocity_gain_is_minus_the_means_derivative(name, steps, level, seed):
    options = {} if name == "ode" else {"noise_level": level}
    step = schedule(steps).step(torch.arange(steps), steps)
    velocity = randn(steps, 3, 2, seed=seed).requires_grad_()
    t = sampler_of(name, **options).transition(velocity, randn(steps, 3, 2), step)
    (gradient,) = torch.autograd.grad(t.mean.sum(), velocity)
    want = -t.velocity_gain[:, None, None].expand_as(gradient)
    torch.testing.assert_close(gradient, want, rtol=1e-12, atol=0)
    assert (t.velocity_gain > 0).all()


@pytest.mark.parametrize("name", STOCHASTIC)
def test_without_noise_every_sampler_is_the_ode(name):
    step = schedule(8).step(torch.arange(8), 8)
    velocity, x = randn(8, 2, 3), randn(8, 2, 3, seed=1)
    euler = sampler_of("ode").transition(velocity, x, step)
    for level in (1e-3, 1e-5):
        t = sampler_of(name, noise_level=level).transition(velocity, x, step)
        # g² and 1 − cos go with level²; at sigma = 1 flow-sde's g² is level²/(1 − sigma_max), here
        # 25 times that. Latents and velocities stay below 4.
        assert float((t.mean - euler.mean).abs().max()) < 200 * level**2
        assert float(t.std.max()) < 10 * level


@pytest.mark.parametrize("name", [*STOCHASTIC, "ode"])
def test_rows_at_different_steps_do_not_see_each_other(name):
    sampler, levels = sampler_of(name), schedule(6)
    velocity, x = randn(6, 4, 2, 2), randn(6, 4, 2, 2, seed=1)
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    together = sampler.transition(velocity, x, levels.step(order, 6))
    for row, index in enumerate(order.tolist()):
        alone = sampler.transition(velocity[row : row + 1], x[row : row + 1], levels.step(index, 1))
        for field in ("mean", "std", "velocity_gain"):
            torch.testing.assert_close(
                getattr(together, field)[row : row + 1], getattr(alone, field), rtol=1e-12, atol=0
            )


@pytest.mark.parametrize("name", STOCHASTIC)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_first_step_from_pure_noise_is_finite(name, dtype):
    levels = Schedule(schedule(10).sigmas.to(dtype))
    step = levels.step(0, 2)
    assert float(step.sigma[0]) == 1
    t = sampler_of(name).transition(randn(2, 3), randn(2, 3, seed=1), step)
    for values in (t.mean, t.std, t.velocity_gain):
        assert values.isfinite().all()
    assert (t.std > 0).all()


def test_flow_sde_at_sigma_one_borrows_the_next_levels_diffusion():
    levels = schedule(10)
    step = levels.step(0, 1)
    t = sampler_of("flow-sde", noise_level=0.7).transition(randn(1, 2), randn(1, 2), step)
    g = 0.7 * math.sqrt(1 / (1 - float(levels.sigmas[1])))
    assert float(t.std) == pytest.approx(g * math.sqrt(float(step.dt)), rel=1e-12)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_all_that_a_step_returns_is_one_number_a_row_beside_the_mean(name):
    x = randn(3, 4, 5)
    t = sampler_of(name).transition(x, x, schedule(4).step(torch.tensor([0, 1, 2]), 3))
    assert (t.mean.shape, t.std.shape, t.velocity_gain.shape) == ((3, 4, 5), (3,), (3,))


@pytest.mark.parametrize("name", STOCHASTIC)
@pytest.mark.parametrize("level", [0, -0.1, 5.01, math.nan, math.inf, "much", None])
def test_noise_levels_out_of_range_are_refused_and_named(name, level):
    with pytest.raises(GuardcoreError, match=f"sampler {name}.noise_level: .*received"):
        create("sampler", name, noise_level=level)


@pytest.mark.parametrize(("name", "most"), [("flow-sde", 5), ("dance-sde", 5), ("cps", 1)])
def test_the_largest_noise_level_is_allowed_and_nothing_above(name, most):
    create("sampler", name, noise_level=most)
    with pytest.raises(GuardcoreError, match="noise_level"):
        create("sampler", name, noise_level=most + 1e-9)


def test_the_ode_takes_no_noise_level():
    with pytest.raises(GuardcoreError, match="sampler ode.noise_level: unknown"):
        create("sampler", "ode", noise_level=0.7)
