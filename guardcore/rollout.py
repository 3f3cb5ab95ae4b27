"""Sampling images.

The core alone draws: a sampler says how the next latents are distributed, this file draws them
from noise that depends on (seed, iteration, purpose, sample) only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from guardcore.clock import Clock
from guardcore.components import Backbone, Sampler
from guardcore.condition import Condition
from guardcore.schedule import Schedule
from guardcore.tensors import promote
from guardcore.trajectory import TakenStep
from guardcore.transition import ode_step

NoiseSource = Callable[[str], Tensor]
"""From a purpose to standard normal noise ``[B, …]`` on the CPU."""


@torch.no_grad()
def denoise(
    backbone: Backbone,
    sampler: Sampler,
    schedule: Schedule,
    condition: Condition,
    noise: NoiseSource,
    stochastic: Collection[int],
    clock: Clock,
) -> tuple[Tensor, list[TakenStep]]:
    """Take all steps: the sampler's at the ``stochastic`` ones, the ODE's at the others.

    Returns:
        The final latents ``[B, …]`` and the stochastic steps as they were taken.
    """
    x = noise("start").to(schedule.sigmas.device)
    taken = []
    for index in range(len(schedule)):
        step = schedule.step(index, len(x))
        with clock("rollout"):
            raw = backbone.velocity(x, step.sigma, condition)
        velocity = promote(raw)
        if index in stochastic:
            old = sampler.transition(velocity, x, step)
            x_next = old.draw(noise(f"step {index}"))
            taken.append(TakenStep(step, x, x_next, old, raw.dtype))
        else:
            x_next = ode_step(velocity, x, step).mean
        x = x_next
    return x, taken


@torch.no_grad()
def decode(backbone: Backbone, x: Tensor, condition: Condition, clock: Clock) -> Tensor:
    """Return images ``[B, 3, H, W]`` in [0, 1], float32 on the CPU, where rewards look at them."""
    with clock("decode"):
        return backbone.decode(x, condition).float().cpu()
