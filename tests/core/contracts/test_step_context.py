"""What the kit and notebooks show to a word is what an update would show."""

import pytest
import torch

from guardcore import create, log_ratio
from guardcore.testing import step_context


def test_rows_are_the_same_in_whatever_batch():
    many, few = step_context(5, steps=[0, 3, 1, 8, 2]), step_context(2, steps=[0, 3])
    assert torch.equal(many.new.mean[:2], few.new.mean)
    assert torch.equal(many.x_next[:2], few.x_next)
    assert torch.equal(many.advantage[:2], few.advantage)


def test_without_change_the_ratio_is_one_and_the_reference_is_the_new_policy():
    context = step_context(change=0)
    assert log_ratio(context).tolist() == [0, 0, 0, 0]
    assert torch.equal(context.reference.mean, context.new.mean)


def test_new_depends_on_the_velocity_and_old_does_not():
    context = step_context()
    (gradient,) = torch.autograd.grad(context.new.mean.sum(), context.velocity)
    assert gradient[2, 0, 0, 0] == pytest.approx(-float(context.new.velocity_gain[2]), rel=1e-6)
    assert not context.old.mean.requires_grad
    assert not context.reference.mean.requires_grad


@pytest.mark.parametrize("sampler", ["flow-sde", "dance-sde", "cps"])
def test_the_change_has_the_size_that_was_asked_for(sampler):
    # 4096 normal draws: their rms is 1 within 1/sqrt(2·4096) = 1.1 %
    context = step_context(1, (64, 64), change=0.1, sampler=create("sampler", sampler))
    rms = float(context.d.detach().pow(2).mean().sqrt() / context.old.velocity_gain)
    assert rms == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize(
    ("dtype", "promoted"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
    ],
)
def test_half_precision_is_promoted_and_float64_kept(dtype, promoted):
    context = step_context(dtype=dtype)
    tensors = (context.new.mean, context.old.std, context.x_next, context.velocity)
    assert {tensor.dtype for tensor in tensors} == {promoted}
    assert torch.equal(context.velocity.detach().to(dtype).to(promoted), context.velocity.detach())


def test_the_last_step_is_refused_for_it_is_never_trained():
    with pytest.raises(IndexError, match="from 0 to 8"):
        step_context(1, steps=[9])
