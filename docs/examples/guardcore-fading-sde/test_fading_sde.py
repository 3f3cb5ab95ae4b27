"""It keeps the contract, and fades as the formula says."""

import torch

from guardcore import Sampler, Schedule, create
from guardcore.testing import check_sampler


def fading(noise_level: float = 0.7, power: float = 1.0) -> Sampler:
    """Return the sampler by name, as a run does."""
    sampler: Sampler = create("sampler", "fading-sde", noise_level=noise_level, power=power)
    return sampler


def test_it_keeps_the_contract() -> None:
    check_sampler(fading(), at_noise_level=fading)


def test_without_fading_it_is_dance_sde() -> None:
    step = Schedule(torch.tensor([1.0, 0.9, 0.5, 0.0])).step(torch.tensor([0, 1]), batch=2)
    x, velocity = torch.ones(2, 4), torch.full((2, 4), 0.5)
    ours = fading(power=0.0).transition(velocity, x, step)
    theirs = create("sampler", "dance-sde").transition(velocity, x, step)
    torch.testing.assert_close(ours.mean, theirs.mean)
    torch.testing.assert_close(ours.std, theirs.std)


def test_half_the_noise_level_has_half_the_diffusion() -> None:
    step = Schedule(torch.tensor([1.0, 0.8, 0.4, 0.0])).step(torch.tensor([1, 2]), batch=2)
    std = fading().transition(torch.zeros(2, 4), torch.zeros(2, 4), step).std
    diffusion = std / step.dt.sqrt()
    torch.testing.assert_close(diffusion[1], diffusion[0] / 2)
