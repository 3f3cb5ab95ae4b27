import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guardcore import GuardcoreError, Step, StepContext, Transition, create

kl = create("penalty", "kl")


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def context(new, reference, std, reduction="sum"):
    rows = torch.ones(len(std)).double()
    step = Step(torch.zeros(len(std)).long(), rows, rows / 2, 0.5)
    at = [None if mean is None else Transition(mean, std, rows) for mean in (new, reference)]
    old = Transition(torch.zeros_like(new), std, rows)
    return StepContext(step, old, at[0], new * 0, reduction, reference=at[1])


@given(st.integers(0, 2**31), st.sampled_from([(3, 5), (2, 4, 3), (2, 3, 4, 4)]))
def test_the_kl_of_the_true_density_is_torchs(seed, shape):
    new, reference = randn(*shape, seed=seed), randn(*shape, seed=seed + 1)
    std = torch.linspace(0.3, 2, shape[0]).double()
    wide = std.reshape(-1, *[1] * (len(shape) - 1))
    exact = torch.distributions.kl_divergence(
        torch.distributions.Normal(new, wide), torch.distributions.Normal(reference, wide)
    ).flatten(1)
    total = kl(context(new, reference, std, "sum"))
    torch.testing.assert_close(total, exact.sum(1), rtol=1e-12, atol=0)
    mean = kl(context(new, reference, std, "mean"))
    torch.testing.assert_close(mean, exact.mean(1), rtol=1e-12, atol=0)


def test_at_the_reference_it_is_zero_and_elsewhere_it_points_back():
    reference, std = randn(4, 3), torch.ones(4).double()
    new = torch.cat([reference[:2], reference[2:] + 1]).requires_grad_()
    values = kl(context(new, reference, std))
    assert values[:2].tolist() == [0.0, 0.0]
    assert (values[2:] > 0).all()
    (gradient,) = torch.autograd.grad(values.sum(), new)
    torch.testing.assert_close(gradient, (new - reference).detach(), rtol=1e-12, atol=1e-15)


def test_half_precision_is_squared_in_float32():
    # 300² overflows float16
    new, reference = torch.full((1, 4), 300.0).half(), torch.zeros(1, 4).half()
    values = kl(context(new, reference, torch.ones(1).half(), "mean"))
    assert values.tolist() == [45_000.0]


def test_without_a_reference_it_says_what_it_lacks():
    with pytest.raises(ValueError, match=r"kl penalty needs StepContext.reference"):
        kl(context(randn(2, 3), None, torch.ones(2).double()))


def test_the_kl_has_no_options_the_coefficient_is_the_configs():
    with pytest.raises(GuardcoreError, match="penalty kl.beta: unknown key"):
        create("penalty", "kl", beta=0.1)
