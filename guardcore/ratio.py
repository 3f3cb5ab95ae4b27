"""The importance ratio and the clipped surrogate.

A chain of ratio transforms takes ``RatioTerms`` to ``RatioTerms``; ``surrogate`` turns the last
ones into a loss. Everything is per row: nothing is averaged over the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from guardcore.schedule import Step
from guardcore.tensors import Reduction, per_row, promote, reduce_latents
from guardcore.transition import Transition

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class StepContext:
    """All that a ratio transform, gradient weight or penalty may look at.

    Attributes:
        step: The denoising step of each row.
        old: The distribution that drew ``x_next``.
        new: The distribution under the weights being trained.
        x_next: ``[B, …]``, what the rollout drew.
        reduction: The run's reduction over latent dimensions.
        advantage: ``[B]``.
        velocity: ``[B, …]`` under the weights being trained.
        reference: The distribution under the reference weights; only with a penalty configured.
        reference_velocity: ``[B, …]``, likewise.
    """

    step: Step
    old: Transition
    new: Transition
    x_next: Tensor
    reduction: Reduction = "mean"
    advantage: Tensor | None = None
    velocity: Tensor | None = None
    reference: Transition | None = None
    reference_velocity: Tensor | None = None

    def reduce(self, values: Tensor) -> Tensor:
        """Reduce ``[B, …]`` over the latent dimensions to ``[B]`` by the run's reduction."""
        return reduce_latents(values, self.reduction)

    @cached_property
    def d(self) -> Tensor:
        """``mean_new − mean_old``, ``[B, …]``."""
        return promote(self.new.mean) - promote(self.old.mean)

    @cached_property
    def bias(self) -> Tensor:
        """``reduce(d²)/(2·std²)``, ``[B]``: how far left of 0 the log-ratio's mean lies (Eq. 6)."""
        return self.reduce(self.d**2) / (2 * promote(self.old.std) ** 2)


@dataclass(frozen=True, eq=False)
class RatioTerms:
    """Log-ratio, the trust region's bounds on the *ratio*, and what it shuts out, each ``[B]``.

    A chain starts from no bounds and shuts out nothing: the defaults. A word passes on what it
    does not change (``dataclasses.replace``).

    Attributes:
        log_ratio: After the words so far.
        low: Lower bound.
        high: Upper bound.
        blocked: bool, rows that a word has left without gradient. Bounds can't say it of a move
            back towards them, which the surrogate's min lets pass.
    """

    log_ratio: Tensor
    low: Tensor = 0.0  # type: ignore[assignment]  # a number becomes [B]
    high: Tensor = float("inf")  # type: ignore[assignment]
    blocked: Tensor = False  # type: ignore[assignment]

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            bound = getattr(self, name)
            if isinstance(bound, int | float) or bound.ndim == 0:
                row = self.log_ratio.detach().new_full(self.log_ratio.shape, float(bound))
                object.__setattr__(self, name, row)
        blocked: object = self.blocked
        if isinstance(blocked, bool):  # isnan: bool, of the same shape, without torch's import
            object.__setattr__(self, "blocked", self.log_ratio.isnan().fill_(blocked))


@dataclass(frozen=True, eq=False)
class Surrogate:
    """The clipped policy-gradient objective of each row.

    Attributes:
        loss: ``[B]``, to be minimised.
        clipped: ``[B]`` bool, the clamped branch was the smaller one, or a word blocks the row:
            no gradient.
    """

    loss: Tensor
    clipped: Tensor


def log_ratio(context: StepContext) -> Tensor:
    """``log_prob(x_next; new) − log_prob(x_next; old)``, ``[B]`` in float64.

    Written as ``reduce((z_old − z_new)·(z_old + z_new))/2 + log(std_old/std_new)`` with
    ``z = (x_next − mean)/std``: the difference of two log-densities of order 1 would lose the
    1e-6 that matters here, and this one is exactly 0 for equal transitions. float64 because a
    clip range of 2e-6 around 1 is 17 float32 steps wide.
    """
    old, new = context.old, context.new
    z_old, z_new = (
        (promote(context.x_next) - promote(t.mean)) / per_row(promote(t.std), promote(t.mean))
        for t in (old, new)
    )
    dimensions = 1 if context.reduction == "mean" else z_old[0].numel()
    log_stds = (promote(old.std) / promote(new.std)).log() * dimensions
    return context.reduce((z_old - z_new) * (z_old + z_new)).double() / 2 + log_stds


def surrogate(terms: RatioTerms, advantage: Tensor, weight: Tensor) -> Surrogate:
    """``loss = −weight·min(r·A, clamp(r, low, high)·A)`` with ``r = exp(log_ratio)`` (PPO).

    A blocked row's loss has the same value and no gradient.

    Args:
        terms: What the chain of ratio transforms returned.
        advantage: A, ``[B]``.
        weight: Product of the gradient weights, ``[B]``.

    Raises:
        ValueError: A shape other than ``[B]``.
    """
    shape = terms.log_ratio.shape
    given = {"advantage": advantage, "weight": weight, "low": terms.low, "high": terms.high}
    given["blocked"] = terms.blocked
    for name, values in given.items():
        if len(shape) != 1 or values.shape != shape:
            raise ValueError(
                f"{name} must be [B] like log_ratio {list(shape)}, received {list(values.shape)}"
            )
    r = terms.log_ratio.exp()
    free, clamped = r * advantage, r.clamp(terms.low, terms.high) * advantage
    objective = free.minimum(clamped)
    objective = objective.detach().where(terms.blocked, objective)
    return Surrogate(-weight * objective, (clamped < free) | terms.blocked)
