import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guardcore import Schedule, Transition, log_prob, ode_step

SHAPES = st.sampled_from([(1, 1), (3, 5), (2, 4, 3), (2, 3, 4, 4)])


def gaussian(shape, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    mean, x = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))
    std = torch.rand(shape[0], generator=generator, dtype=dtype) + 0.05
    return Transition(mean, std, torch.ones_like(std)), x


@given(SHAPES, st.integers(0, 2**31))
def test_log_prob_is_the_gaussian_density_summed_or_averaged_over_the_latents(shape, seed):
    transition, x = gaussian(shape, seed)
    std = transition.std.reshape(-1, *[1] * (len(shape) - 1))
    density = torch.distributions.Normal(transition.mean, std).log_prob(x).flatten(1)
    torch.testing.assert_close(log_prob(x, transition, "sum"), density.sum(1), rtol=1e-12, atol=0)
    torch.testing.assert_close(log_prob(x, transition), density.mean(1), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_scored_in_float32(half):
    transition, x = gaussian((2, 4, 8, 8), 0, torch.float32)
    halved = Transition(transition.mean.to(half), transition.std.to(half), transition.velocity_gain)
    raised = Transition(halved.mean.float(), halved.std.float(), transition.velocity_gain)
    scored = log_prob(x.to(half), halved)
    assert scored.dtype == torch.float32
    assert scored.tolist() == log_prob(x.to(half).float(), raised).tolist()


def test_float64_is_scored_in_float64():
    transition, x = gaussian((2, 4), 0)
    assert log_prob(x, transition).dtype == torch.float64


def test_draws_have_the_transitions_mean_and_std():
    # Var(sample mean) = std²/n and Var(sample std) ≈ std²/(2n): 5 of each is 1 in 10⁶.
    n = 40_000
    transition = Transition(
        torch.tensor([[2.0], [-1.0]]).expand(2, n), torch.tensor([0.5, 3.0]), torch.ones(2)
    )
    x = transition.draw(torch.randn(2, n, generator=torch.Generator().manual_seed(0)))
    for row, (mean, std) in enumerate([(2.0, 0.5), (-1.0, 3.0)]):
        assert abs(float(x[row].mean()) - mean) < 5 * std / n**0.5
        assert abs(float(x[row].std()) - std) < 5 * std / (2 * n) ** 0.5


def test_the_density_integrates_to_one():
    # The trapezoid rule on ±8 std with 2001 nodes is exact to far below 1e-9 for a Gaussian.
    grid = torch.linspace(-4, 4, 2001, dtype=torch.float64)[:, None]
    transition = Transition(torch.zeros(2001, 1), torch.full((2001,), 0.5), torch.ones(2001))
    transition = Transition(transition.mean.double(), transition.std.double(), torch.ones(2001))
    density = log_prob(grid, transition, "sum").exp()
    assert float(torch.trapezoid(density, grid[:, 0])) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("shape", [(2, 4), (3, 5), (3, 4, 1), (12,)])
def test_latents_of_another_shape_are_refused(shape):
    transition, _ = gaussian((3, 4), 0)
    with pytest.raises(ValueError, match=r"x_next must have the mean's shape \[3, 4\], received"):
        log_prob(torch.zeros(shape).double(), transition)


def test_a_deterministic_step_has_no_density():
    step = Schedule(torch.tensor([1.0, 0.5, 0.0])).step(0, 2)
    x = torch.ones(2, 3)
    transition = ode_step(torch.ones(2, 3), x, step)
    assert (transition.mean == 0.5).all()
    with pytest.raises(ValueError, match="deterministic"):
        log_prob(x, transition)


def test_another_reduction_is_refused():
    transition, x = gaussian((3, 4), 0)
    with pytest.raises(ValueError, match="'mean' or 'sum'"):
        log_prob(x, transition, "max")
