import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guardcore import GuardcoreError, Step, StepContext, Transition, create
from guardcore.testing import step_context

kl = create("penalty", "kl")
kl_velocity = create("penalty", "kl-velocity")


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


@pytest.mark.parametrize("sampler", ["flow-sde", "dance-sde", "cps"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_kl_in_velocity_form_is_the_kl_without_its_weight(sampler, reduction):
    step = step_context(
        9, sampler=create("sampler", sampler), reduction=reduction, dtype=torch.float64
    )
    weight = step.old.velocity_gain**2 / (2 * step.old.std**2)
    # float32 means: 1e-7 of a mean of order 1 against a difference of 1e-3
    torch.testing.assert_close(kl(step), weight * kl_velocity(step).float(), rtol=1e-3, atol=0)


def test_the_kl_in_velocity_form_by_hand():
    velocity = torch.tensor([[1.0, 2.0], [5.0, 5.0]]).requires_grad_()
    step = dataclasses.replace(
        step_context(2, (2,)),
        velocity=velocity,
        reference_velocity=torch.tensor([[0.0, 4], [5, 5]]),
    )
    values = kl_velocity(step)
    assert values.tolist() == [2.5, 0.0]
    (gradient,) = torch.autograd.grad(values.sum(), velocity)
    assert gradient.tolist() == [[1.0, -2.0], [0.0, 0.0]]  # 2·(v − v_ref)/D


@pytest.mark.parametrize("which", ["velocity", "reference_velocity"])
def test_without_a_velocity_it_says_what_it_lacks(which):
    with pytest.raises(ValueError, match="kl-velocity penalty needs StepContext.velocity and ref"):
        kl_velocity(dataclasses.replace(step_context(), **{which: None}))


def test_half_precision_is_squared_in_float32():
    # 300² overflows float16
    new, reference = torch.full((1, 4), 300.0).half(), torch.zeros(1, 4).half()
    values = kl(context(new, reference, torch.ones(1).half(), "mean"))
    assert values.tolist() == [45_000.0]
    step = dataclasses.replace(step_context(1, (4,)), velocity=new, reference_velocity=reference)
    assert kl_velocity(step).tolist() == [90_000.0]


def test_without_a_reference_it_says_what_it_lacks():
    with pytest.raises(ValueError, match=r"kl penalty needs StepContext.reference"):
        kl(context(randn(2, 3), None, torch.ones(2).double()))


def test_the_kl_has_no_options_the_coefficient_is_the_configs():
    with pytest.raises(GuardcoreError, match="penalty kl.beta: unknown key"):
        create("penalty", "kl", beta=0.1)
