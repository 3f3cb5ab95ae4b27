"""Sampling images.

The core alone draws: a sampler says how the next latents are distributed, this file draws them
from noise that depends on (seed, iteration, purpose, sample) only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from guardcore.clock import Clock
from guardcore.components import Backbone, Sampler
from guardcore.condition import Condition
from guardcore.schedule import Schedule
from guardcore.tensors import moved, promote
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
    twins: Sequence[int] = (),
) -> tuple[Tensor, list[TakenStep]]:
    """Take all steps: the sampler's at the ``stochastic`` ones, the ODE's at the others.

    Args:
        backbone: The model.
        sampler: Of the stochastic steps.
        schedule: The noise levels.
        condition: ``B`` rows.
        noise: From a purpose to noise; nothing here draws for itself.
        stochastic: Places in the schedule.
        clock: Is told what the forwards take.
        twins: ``[B]`` numbers. Rows of the same number have prompt and start noise in common, and
            are one row until the first stochastic step.

    Returns:
        The final latents ``[B, …]`` and the stochastic steps as they were taken.
    """
    device = schedule.sigmas.device
    x, rows, parting = moved(noise("start"), device), condition, None
    if twins:
        numbers = list(dict.fromkeys(twins))
        first = [twins.index(number) for number in numbers]
        x, rows, parting = x[first], condition.rows(first), min(stochastic)
    taken = []
    for index in range(len(schedule)):
        if index == parting:
            x, rows = x[[numbers.index(number) for number in twins]], condition
        step = schedule.step(index, len(x))
        with clock("rollout"):
            raw = backbone.velocity(x, step.sigma, rows)
        velocity = promote(raw)
        if index in stochastic:
            old = sampler.transition(velocity, x, step)
            x_next = old.draw(moved(noise(f"step {index}"), device))
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
