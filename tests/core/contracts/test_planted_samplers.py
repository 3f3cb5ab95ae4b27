"""flow-sde, dance-sde and cps with the bugs that implementations have had."""

from dataclasses import replace

import pytest
import torch

from guardcore import Transition, ode_step, per_row
from guardcore.testing import check_sampler
from laws import broken


class Planted:
    """The SDEs' step, with what a subclass gets wrong."""

    def __init__(self, eta=0.7):
        self.eta = eta

    def g(self, step):
        return self.eta * (step.sigma / (1 - step.sigma.clamp(max=step.sigma_max))).sqrt()

    def gain(self, step, pull):
        return (1 + pull * (1 - step.sigma)) * step.dt

    def std(self, step, g):
        return g * step.dt.sqrt()

    def transition(self, velocity, x, step):
        g = self.g(step)
        pull = g**2 / (2 * step.sigma)
        gain = self.gain(step, pull)
        mean = x * per_row(1 - pull * step.dt, x) - velocity * per_row(gain, x)
        return Transition(mean, self.std(step, g), gain)


class SigmaAveragedOverRows(Planted):
    def g(self, step):
        sigma = step.sigma.mean().expand(len(step.sigma))
        return self.eta * (sigma / (1 - sigma.clamp(max=step.sigma_max))).sqrt()


class DtAveragedOverRows(Planted):
    def std(self, step, g):
        return g * step.dt.mean().sqrt()


class DtOfTheFirstRow(Planted):
    def gain(self, step, pull):
        return (1 + pull * (1 - step.sigma)) * step.dt[0]


class FullNoiseUnguarded(Planted):
    def g(self, step):
        return self.eta * (step.sigma / (1 - step.sigma)).sqrt()


class NoiseWithoutDrift(Planted):
    def transition(self, velocity, x, step):
        still = ode_step(velocity, x, step)
        return replace(still, std=self.std(step, self.g(step)))


class DanceWithoutTheLast(Planted):
    """dance-sde with (1 − sigma) left out of the drift."""

    def g(self, step):
        return step.sigma.new_full(step.sigma.shape, self.eta)

    def gain(self, step, pull):
        return (1 + pull) * step.dt


class StdWithoutTheRoot(Planted):
    def std(self, step, g):
        return g * step.dt


class GainWithoutBeta(Planted):
    def transition(self, velocity, x, step):
        return replace(super().transition(velocity, x, step), velocity_gain=step.dt)


class MeanWithoutGradient(Planted):
    def transition(self, velocity, x, step):
        return super().transition(velocity.detach(), x, step)


class StdShapedForLatents(Planted):
    def std(self, step, g):
        return (g * step.dt.sqrt()).reshape(-1, 1, 1, 1)


class SinglePrecision(Planted):
    def transition(self, velocity, x, step):
        return super().transition(velocity.float(), x.float(), step)


class LatentsInPlace(Planted):
    def transition(self, velocity, x, step):
        result = super().transition(velocity, x, step)
        return replace(result, mean=x.copy_(result.mean))


class CPSOfAnotherAngle(Planted):
    """cps with std sin(eta·pi/2) beside cos(eta): more noise is put in than was taken out."""

    def transition(self, velocity, x, step):
        angle = torch.tensor(self.eta * torch.pi / 2)
        kept = step.sigma_next * torch.tensor(self.eta).cos()
        gain = (1 - step.sigma_next) * step.sigma - kept * (1 - step.sigma)
        mean = x * per_row(1 - step.sigma_next + kept, x) - velocity * per_row(gain, x)
        return Transition(mean, step.sigma_next * angle.sin(), gain)


@pytest.mark.parametrize(
    ("sampler", "law"),
    [
        (SigmaAveragedOverRows, "rows-independent"),
        (DtAveragedOverRows, "rows-independent"),
        (DtOfTheFirstRow, "rows-independent"),
        (FullNoiseUnguarded, "finite"),
        (NoiseWithoutDrift, "marginals-kept"),
        (DanceWithoutTheLast, "marginals-kept"),
        (StdWithoutTheRoot, "marginals-kept"),
        (GainWithoutBeta, "velocity-gain"),
        (MeanWithoutGradient, "velocity-gain"),
        (StdShapedForLatents, "one-gaussian-a-row"),
        (SinglePrecision, "dtype-kept"),
        (LatentsInPlace, "pure"),
        (CPSOfAnotherAngle, "marginals-kept"),
    ],
)
def test_a_sampler_with_a_bug_breaks_the_law_that_forbids_it(sampler, law):
    assert broken(check_sampler, sampler()).law == law


def test_a_sampler_deaf_to_its_noise_level_is_told_from_one_that_has_none():
    error = broken(check_sampler, Planted(), at_noise_level=lambda level: Planted())
    assert error.law == "ode-without-noise"
    check_sampler(Planted(), at_noise_level=Planted)
