"""The numbers behind the figures: what each strategy does with one known change of the velocity.

The components are the real ones, through ``guardcore.create``. The change ``Δv`` has the same size
at every trained step of SD3's schedule, and the same noise is drawn at each, so that whatever
differs between the steps is the formula's doing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from guardcore import RatioTerms, Schedule, StepContext, Strategy, create, log_ratio, surrogate
from guardcore.spec import Spec, SpecLike

LATENTS = 65_536
"""D at 512 px: 16 channels of 64 × 64."""
CHANGE = 0.01
"""Root mean square of ``Δv``; a velocity's own is of order 1."""


@dataclass(frozen=True)
class StepFigures:
    """One denoising step under one strategy.

    Attributes:
        sigma: Noise level before the step.
        excess: ``r − 1`` of every row, ``[B]``.
        low: Lower bound on the ratio, minus 1; -1 where there is none.
        high: Upper bound on the ratio, minus 1; inf where there is none.
        gradient: Norm of a row's gradient with respect to the velocity, before any update.
    """

    sigma: float
    excess: Tensor
    low: float
    high: float
    gradient: float


HALF_WIDTH = 2e-6
"""Of ``guard``'s clip, the unit of the gates."""


@cache
def sd3_schedule(steps: int = 10) -> Schedule:
    """Return SD3's shifted noise levels."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    from guardcore_plugins.backbones.schedules import pipeline_schedule

    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    return pipeline_schedule(scheduler, steps, LATENTS // 64, torch.device("cpu"))


def directions(rows: int, latents: int = LATENTS) -> tuple[Tensor, Tensor]:
    """Return a change of velocity of rms 1 and a noise, each ``[rows, latents]``.

    The second half of the rows has the first half's noise negated: what is centred looks centred.
    """
    generator = torch.Generator().manual_seed(0)
    change, noise = torch.randn(2, rows // 2, latents, generator=generator)
    change = change / change.square().mean(1, keepdim=True).sqrt()
    return torch.cat([change, change]), torch.cat([noise, -noise])


def moved(sampler: str, index: int, change: Tensor, noise: Tensor) -> tuple[StepContext, Tensor]:
    """Return what a step's words look at after the velocity has moved by ``change``, and it."""
    step = sd3_schedule().step(index, len(change))
    x, component = torch.zeros_like(change), create("sampler", sampler)
    velocity = change.clone().requires_grad_()
    old = component.transition(torch.zeros_like(x), x, step)
    new = component.transition(velocity, x, step)
    context = StepContext(step=step, old=old, new=new, x_next=old.draw(noise))
    return replace(context, advantage=step.sigma.new_ones(len(change))), velocity


def chain(words: tuple[SpecLike, ...], context: StepContext) -> RatioTerms:
    """Apply ratio transforms, left to right."""
    terms = RatioTerms(log_ratio(context))
    for word in words:
        spec = Spec.model_validate(word)
        terms = create("ratio_transform", spec.use, **spec.options)(terms, context)
    return terms


def gradient(strategy: Strategy, sampler: str, index: int, noise: Tensor) -> float:
    """Return a row's mean gradient norm at ratio 1, advantage 1."""
    context, velocity = moved(sampler, index, torch.zeros_like(noise), noise)
    weight = torch.ones(len(noise), dtype=torch.float64)
    for word in strategy.gradient_weight:
        spec = Spec.model_validate(word)
        weight = weight * create("gradient_weight", spec.use, **spec.options)(context)
    surrogate(
        chain(tuple(strategy.ratio), context), torch.ones_like(weight), weight
    ).loss.sum().backward()
    assert velocity.grad is not None
    return float(velocity.grad.norm(dim=1).mean())


def step_figures(name: str, rows: int, change: float = CHANGE) -> list[StepFigures]:
    """Return what strategy ``name`` does at each trained step."""
    strategy = create("strategy", name)
    sampler = strategy.samplers[0] if strategy.samplers else "flow-sde"
    direction, noise = directions(rows)
    figures = []
    for index in range(len(sd3_schedule()) - 1):  # the last step is never trained
        context, _ = moved(sampler, index, change * direction, noise)
        terms = chain(tuple(strategy.ratio), context)
        low, high = float(terms.low.min()) - 1, float(terms.high.max()) - 1
        slope = gradient(strategy, sampler, index, noise)
        sigma = float(context.step.sigma[0])
        figures.append(StepFigures(sigma, terms.log_ratio.detach().expm1(), low, high, slope))
    return figures


def gate(name: str, places: Tensor, advantage: float) -> Tensor:
    """Return the part of the gradient that strategy ``name`` lets through, by ratio.

    Args:
        name: One whose first word normalises the ratio and whose others hold it near 1.
        places: ``[B]``, ``(r − 1)/HALF_WIDTH`` after normalising.
        advantage: Only its sign matters.
    """
    context, _ = moved("flow-sde", 4, *torch.zeros(2, len(places), 1))
    rows = torch.full_like(places, advantage)
    log = (places * HALF_WIDTH).log1p().requires_grad_()
    terms = RatioTerms(log)
    for word in create("strategy", name).ratio[1:]:
        spec = Spec.model_validate(word)
        terms = create("ratio_transform", spec.use, **spec.options)(
            terms, replace(context, advantage=rows)
        )
    surrogate(terms, rows, torch.ones_like(rows)).loss.sum().backward()
    assert log.grad is not None
    return -log.grad / (advantage * log.detach().exp())


def spreads(words: tuple[SpecLike, ...], rows: int = 8, sampler: str = "flow-sde") -> list[float]:
    """Return the standard deviation of the log-ratio at each trained step."""
    direction, noise = directions(rows)
    found = []
    for index in range(len(sd3_schedule()) - 1):
        context, _ = moved(sampler, index, CHANGE * direction, noise)
        found.append(float(chain(words, context).log_ratio.detach().std(correction=0)))
    return found


def shifted(k: float, rows: int) -> Tensor:
    """Return log-ratios ``[rows]`` of a step that moved by ``K = ‖d‖²/(2·std²) = k``."""
    direction, noise = directions(rows)
    context, _ = moved("flow-sde", 4, direction, noise)
    unit = float(context.bias[0].detach()) * LATENTS  # K of a change of rms 1
    context, _ = moved("flow-sde", 4, (k / unit) ** 0.5 * direction, noise)
    return log_ratio(context).detach()


def ratio_between(values: list[float]) -> float:
    """Return how many times the largest is the smallest."""
    return max(values) / min(values)
