"""A sampler whose noise fades as the image forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from guardcore import Options, Registrar, Sampler, Step, Transition, hookimpl, per_row

if TYPE_CHECKING:
    from torch import Tensor


class FadingSDEOptions(Options):
    """How much noise, and how fast it fades."""

    noise_level: float = Field(0.7, gt=0, le=5, description="eta, the diffusion at sigma = 1")
    power: float = Field(1.0, ge=0, le=4, description="exponent of sigma; 0: it doesn't fade")


@dataclass(frozen=True)
class FadingSDE:
    """The flow's SDE with the diffusion ``g = eta·sigma^power``.

    ``mean = x·(1 − g²/(2·sigma)·dt) − v·(1 + g²·(1−sigma)/(2·sigma))·dt`` and ``std = g·sqrt(dt)``
    keep the flow's marginals for any ``g``, up to the size of the step.
    """

    options: FadingSDEOptions

    def transition(self, velocity: Tensor, x: Tensor, step: Step) -> Transition:
        """Return the Gaussian over the next latents, row by row."""
        g = self.options.noise_level * step.sigma**self.options.power  # [B]
        pull = g**2 / (2 * step.sigma)
        gain = (1 + pull * (1 - step.sigma)) * step.dt
        mean = x * per_row(1 - pull * step.dt, x) - velocity * per_row(gain, x)
        return Transition(mean, g * step.dt.sqrt(), gain)


def fading_sde(options: FadingSDEOptions) -> Sampler:
    """Noise that fades as the image forms: ``g = eta·sigma^power``."""
    return FadingSDE(options)


@hookimpl
def guardcore_register_samplers(register: Registrar) -> None:
    """Register the one sampler."""
    register("fading-sde", fading_sde)
