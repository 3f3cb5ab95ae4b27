"""Denoising steps as Gaussians over the next latents.

``sigma`` is the noise level, ``dt = sigma − sigma_next``, ``v`` the velocity, ``eta`` the option
``noise_level``. Every formula is per row: rows of one batch may be at different steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from guardcore import Options, Registrar, Step, Transition, hookimpl, ode_step, per_row

if TYPE_CHECKING:
    from torch import Tensor


class SDEOptions(Options):
    """Options of the stochastic samplers."""

    noise_level: float = Field(0.7, gt=0, le=5, description="eta, scale of the noise; no unit")


class CPSOptions(Options):
    """Options of the coefficients-preserving sampler."""

    noise_level: float = Field(
        0.7, gt=0, le=1, description="eta, share of a quarter turn from prediction to noise"
    )


@dataclass(frozen=True)
class FlowSDE:
    """Flow-GRPO's SDE: ``g = eta·sqrt(sigma/(1 − min(sigma, sigma_max)))``.

    Source: Flow-GRPO (arXiv 2505.05470), Eq. 9.
    """

    eta: float

    def transition(self, velocity: Tensor, x: Tensor, step: Step) -> Transition:
        """Return the Gaussian over the next latents."""
        g = self.eta * (step.sigma / (1 - step.sigma.clamp(max=step.sigma_max))).sqrt()
        return _sde(velocity, x, step, g)


@dataclass(frozen=True)
class DanceSDE:
    """DanceGRPO's SDE: constant diffusion ``g = eta``. Source: DanceGRPO (arXiv 2505.07818)."""

    eta: float

    def transition(self, velocity: Tensor, x: Tensor, step: Step) -> Transition:
        """Return the Gaussian over the next latents."""
        return _sde(velocity, x, step, step.sigma.new_full(step.sigma.shape, self.eta))


def _sde(velocity: Tensor, x: Tensor, step: Step, g: Tensor) -> Transition:
    """Return the Euler–Maruyama step that keeps the flow's marginals for any diffusion ``g [B]``.

    ``mean = x·(1 − g²/(2·sigma)·dt) − v·(1 + g²(1−sigma)/(2·sigma))·dt``, ``std = g·sqrt(dt)``.
    """
    pull = g**2 / (2 * step.sigma)
    gain = (1 + pull * (1 - step.sigma)) * step.dt
    mean = x * per_row(1 - pull * step.dt, x) - velocity * per_row(gain, x)
    return Transition(mean, g * step.dt.sqrt(), gain)


@dataclass(frozen=True)
class CPS:
    """Coefficients-preserving sampling: exactly the noise level that the schedule asks for.

    ``mean = (1−sigma_next)·(x − sigma·v) + sigma_next·cos(eta·pi/2)·(x + (1−sigma)·v)``,
    ``std = sigma_next·sin(eta·pi/2)``. Source: Flow-CPS (arXiv 2509.05952).
    """

    eta: float

    def transition(self, velocity: Tensor, x: Tensor, step: Step) -> Transition:
        """Return the Gaussian over the next latents."""
        angle = self.eta * math.pi / 2
        clean, noise = 1 - step.sigma_next, step.sigma_next * math.cos(angle)
        gain = clean * step.sigma - noise * (1 - step.sigma)
        mean = x * per_row(clean + noise, x) - velocity * per_row(gain, x)
        return Transition(mean, step.sigma_next * math.sin(angle), gain)


class ODE:
    """The probability-flow ODE's Euler step, ``x − v·dt``: no noise, no log-probability."""

    def transition(self, velocity: Tensor, x: Tensor, step: Step) -> Transition:
        """Return the next latents as a Gaussian of std 0."""
        return ode_step(velocity, x, step)


def flow_sde(options: SDEOptions) -> FlowSDE:
    """Flow-GRPO's sampler: noise grows with the noise level."""
    return FlowSDE(options.noise_level)


def dance_sde(options: SDEOptions) -> DanceSDE:
    """DanceGRPO's sampler: the same noise at every step."""
    return DanceSDE(options.noise_level)


def cps(options: CPSOptions) -> CPS:
    """Flow-CPS: a stochastic step that leaves no extra noise in the image."""
    return CPS(options.noise_level)


def ode(options: Options) -> ODE:
    """The deterministic sampler, for evaluation."""
    return ODE()


@hookimpl
def guardcore_register_samplers(register: Registrar) -> None:
    """Register the four samplers."""
    register("flow-sde", flow_sde)
    register("dance-sde", dance_sde)
    register("cps", cps)
    register("ode", ode)
