"""Noise in proportion to the noise level as a sampler.

With diffusion ``g = eta·sigma`` the Euler–Maruyama step that keeps the flow's marginals is::

    mean = x·(1 − g²/(2·sigma)·dt) − v·(1 + g²·(1 − sigma)/(2·sigma))·dt
    std  = g·sqrt(dt)

There is much noise early, while the composition is decided, and little when details are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from guardcore import Options, Registrar, Sampler, Step, Transition, hookimpl, per_row
from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor


class YourNameOptions(Options):
    """How noisy the rollout is."""

    noise_level: float = Field(1.0, gt=0, le=5, description="eta, scale of the noise; no unit")


@dataclass(frozen=True)
class YourNameSampler:
    """A step with diffusion ``g = eta·sigma``. Each row has its own ``sigma`` and ``dt``."""

    eta: float

    def transition(self, velocity: Tensor, x: Tensor, step: Step) -> Transition:
        """Return the Gaussian over the next latents."""
        pull = self.eta**2 * step.sigma / 2  # [B], g²/(2·sigma)
        gain = (1 + pull * (1 - step.sigma)) * step.dt
        mean = x * per_row(1 - pull * step.dt, x) - velocity * per_row(gain, x)
        return Transition(mean, self.eta * step.sigma * step.dt.sqrt(), gain)


def your_name_sampler(options: YourNameOptions) -> Sampler:
    """Diffusion ``eta·sigma``: noise in proportion to the noise level."""
    return YourNameSampler(options.noise_level)


@hookimpl
def guardcore_register_samplers(register: Registrar) -> None:
    """Register the one sampler."""
    register("your-name", your_name_sampler)
