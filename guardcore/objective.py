"""What an update minimises: the ratio's chain, the surrogate, its weight, the penalties."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from guardcore.clock import Clock
from guardcore.components import Backbone, GradientWeight, Penalty, RatioTransform, Sampler
from guardcore.condition import Condition
from guardcore.errors import ComponentError
from guardcore.ratio import RatioTerms, StepContext, log_ratio, surrogate
from guardcore.tensors import Reduction, promote
from guardcore.trajectory import TakenStep

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Scored:
    """One micro-batch at one step.

    Attributes:
        context: What the components looked at.
        raw_log_ratio: ``[B]``, before any ratio transform.
        terms: What the chain returned.
        clipped: ``[B]`` bool, terms without gradient.
        loss: ``[B]``, weighted surrogate plus penalties.
    """

    context: StepContext
    raw_log_ratio: Tensor
    terms: RatioTerms
    clipped: Tensor
    loss: Tensor


@dataclass(frozen=True)
class Objective:
    """The components that make the loss, each with the name its errors carry.

    Attributes:
        sampler: The rollout's sampler: the update scores under the same distribution.
        ratio: The chain, left to right.
        gradient_weight: Multiplied.
        penalty: Each with its coefficient.
        reduction: Over latent dimensions.
    """

    sampler: Sampler
    ratio: Sequence[tuple[str, RatioTransform]]
    gradient_weight: Sequence[tuple[str, GradientWeight]]
    penalty: Mapping[str, tuple[float, Penalty]]
    reduction: Reduction

    def score(
        self,
        backbone: Backbone,
        condition: Condition,
        taken: Sequence[TakenStep],
        advantages: Sequence[Tensor],
        clock: Clock,
    ) -> list[Scored]:
        """Score steps that were taken under the weights as they are now, in one forward.

        Args:
            backbone: The model.
            condition: ``[B]``, that of each step.
            taken: Steps of one micro-batch.
            advantages: ``[B]`` at each of them.
            clock: Is told what the forwards take.

        Raises:
            ComponentError: A component raised, or returned another shape than ``[B]``.
        """
        contexts = self.contexts(backbone, condition, taken, advantages, clock)
        return [self.rate(context) for context in contexts]

    def rate(self, context: StepContext) -> Scored:
        """Score what ``context`` returned, of this objective or of another with its sampler.

        Raises:
            ComponentError: As ``score``.
        """
        raw = log_ratio(context)
        terms = RatioTerms(raw)
        for name, transform in self.ratio:
            who = f"ratio transform {name!r}"
            terms = _call(who, transform, terms, context)
            _check_rows(who, getattr(terms, "log_ratio", terms), raw)
        weight = torch.ones_like(raw)
        for name, factor in self.gradient_weight:
            who = f"gradient weight {name!r}"
            weight = weight * _check_rows(who, _call(who, factor, context), raw)
        advantage = raw.new_zeros(raw.shape) if context.advantage is None else context.advantage
        result = surrogate(terms, advantage.to(raw), weight)
        loss = result.loss
        for name, (coefficient, penalty) in self.penalty.items():
            who = f"penalty {name!r}"
            loss = loss + coefficient * _check_rows(who, _call(who, penalty, context), raw)
        return Scored(context, raw, terms, result.clipped, loss)

    def contexts(
        self,
        backbone: Backbone,
        condition: Condition,
        taken: Sequence[TakenStep],
        advantages: Sequence[Tensor],
        clock: Clock,
    ) -> list[StepContext]:
        """Return all that the components may look at, step by step.

        One forward of all steps' rows; two where there is a penalty.
        """
        x = torch.cat([t.x for t in taken])
        sigma = torch.cat([t.step.sigma for t in taken])
        every = Condition.cat([condition] * len(taken))

        def velocities() -> Sequence[Tensor]:
            with clock("forward"):
                return promote(backbone.velocity(x, sigma, every)).chunk(len(taken))

        contexts = [
            StepContext(
                step=t.step,
                old=t.old,
                new=self.sampler.transition(velocity, t.x, t.step),
                x_next=t.x_next,
                reduction=self.reduction,
                advantage=advantage,
                velocity=velocity,
            )
            for t, advantage, velocity in zip(taken, advantages, velocities(), strict=True)
        ]
        if not self.penalty:
            return contexts
        with torch.no_grad(), backbone.reference():
            references = velocities()
        return [
            replace(
                context,
                reference=self.sampler.transition(velocity, t.x, t.step),
                reference_velocity=velocity,
            )
            for context, t, velocity in zip(contexts, taken, references, strict=True)
        ]


def _call(who: str, component: Callable[..., _T], *arguments: object) -> _T:
    try:
        return component(*arguments)
    except torch.OutOfMemoryError:  # fewer rows may fit
        raise
    except Exception as error:
        raise ComponentError(f"{who} raised {type(error).__name__}: {error}") from error


def _check_rows(who: str, values: object, like: Tensor) -> Tensor:
    if not isinstance(values, Tensor) or values.shape != like.shape:
        received = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ComponentError(f"{who} must return [B] = {list(like.shape)}, received {received}")
    return values
