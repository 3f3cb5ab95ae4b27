"""A denoising step as a distribution: the rollout draws from it, the update scores under it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guardcore.schedule import Step
from guardcore.tensors import Reduction, per_row, promote, reduce_latents

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Transition:
    """Gaussian over the next latents, isotropic within a row.

    Attributes:
        mean: ``[B, …]``.
        std: ``[B]``; 0 is a deterministic step, which has no density.
        velocity_gain: ``[B]``, −∂mean/∂velocity, positive.
    """

    mean: Tensor
    std: Tensor
    velocity_gain: Tensor

    def draw(self, noise: Tensor) -> Tensor:
        """Return ``mean + std·noise`` for standard normal ``noise [B, …]``."""
        return self.mean + per_row(self.std, self.mean) * noise.to(self.mean)


def log_prob(x_next: Tensor, transition: Transition, reduction: Reduction = "mean") -> Tensor:
    """Gaussian log-density of ``x_next [B, …]``, ``[B]``.

    ``"sum"`` is the true density; ``"mean"`` divides it by the D latent dimensions of a row, the
    published code's convention. Half precision is promoted to float32.

    Raises:
        ValueError: Shapes differ, or ``std`` is 0 (checked on the CPU only: on an accelerator the
            check would stall the device, and the density comes out as NaN).
    """
    mean, std = promote(transition.mean), promote(transition.std)
    if x_next.shape != mean.shape:
        raise ValueError(
            f"x_next must have the mean's shape {list(mean.shape)}, received {list(x_next.shape)}"
        )
    if std.device.type == "cpu" and bool((std <= 0).any()):
        raise ValueError("a transition with std 0 is deterministic: it has no log-density")
    z = (promote(x_next) - mean) / per_row(std, mean)
    dimensions = 1 if reduction == "mean" else mean[0].numel()
    constant = (std.log() + 0.5 * math.log(2 * math.pi)) * dimensions
    return -reduce_latents(z * z, reduction) / 2 - constant


def ode_step(velocity: Tensor, x: Tensor, step: Step) -> Transition:
    """Euler step of the probability-flow ODE, ``x − v·dt``: the deterministic step, std 0."""
    dt = step.dt
    return Transition(x - velocity * per_row(dt, x), dt.new_zeros(dt.shape), dt)
