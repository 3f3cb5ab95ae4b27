"""What an update minimises: the ratio's chain, the surrogate, its weight, the penalties."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
        taken: TakenStep,
        advantage: Tensor,
        clock: Clock,
    ) -> Scored:
        """Score a step that was taken under the weights as they are now; ``advantage [B]``.

        Raises:
            ComponentError: A component raised, or returned another shape than ``[B]``.
        """
        return self.rate(self.context(backbone, condition, taken, advantage, clock))

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

    def context(
        self,
        backbone: Backbone,
        condition: Condition,
        taken: TakenStep,
        advantage: Tensor,
        clock: Clock,
    ) -> StepContext:
        """Return all that the components may look at: one forward, two where there is a penalty."""
        step, x = taken.step, taken.x
        with clock("forward"):
            velocity = promote(backbone.velocity(x, step.sigma, condition))
        reference = reference_velocity = None
        if self.penalty:
            with clock("forward"), torch.no_grad(), backbone.reference():
                reference_velocity = promote(backbone.velocity(x, step.sigma, condition))
            reference = self.sampler.transition(reference_velocity, x, step)
        return StepContext(
            step=step,
            old=taken.old,
            new=self.sampler.transition(velocity, x, step),
            x_next=taken.x_next,
            reduction=self.reduction,
            advantage=advantage,
            velocity=velocity,
            reference=reference,
            reference_velocity=reference_velocity,
        )


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
