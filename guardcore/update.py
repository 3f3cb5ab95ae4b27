"""One optimiser update: score what was sampled, weigh it, step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from guardcore.figures import UpdateFigures
from guardcore.learner import Learner
from guardcore.preflight import check_ratios_are_one
from guardcore.run import Run
from guardcore.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class Updated:
    """What an update did; ``grad_norm`` is None where it was skipped or had nothing to learn."""

    loss: float
    grad_norm: float | None
    figures: UpdateFigures


def update(
    run: Run, learner: Learner, trajectories: Sequence[Trajectory], advantages: Tensor, first: bool
) -> Updated:
    """Accumulate the gradient over ``trajectories`` and their steps, then step once.

    The loss is the mean over all (sample, step) terms, so a short micro-batch weighs what its
    rows weigh. A micro-batch whose advantages are all 0 has no gradient and is not run, unless a
    penalty gives it one.

    Args:
        run: The components.
        learner: The optimiser.
        trajectories: The update's share of the rollout.
        advantages: ``[N, S]`` on the CPU, over all samples and the S trained steps.
        first: Whether this is the iteration's first update, where every ratio must be 1.

    Raises:
        PreflightError: A ratio of the first update is not 1.
    """
    figures = UpdateFigures()
    terms = sum(len(trajectory.samples) * len(trajectory.steps) for trajectory in trajectories)
    losses = []
    for done, kept in enumerate(trajectories, 1):
        trajectory = kept.onload()
        for place, taken in enumerate(trajectory.steps):
            advantage = advantages[trajectory.rows, place]
            if not run.objective.penalty and not advantage.any():
                continue
            advantage = advantage.to(taken.x.device)
            scored = run.objective.score(
                run.backbone, trajectory.condition, taken, advantage, run.clock
            )
            loss = scored.loss.sum() / terms
            with run.clock("backward"):
                loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            figures.add(trajectory.indices[place], scored)
        run.trackers.progress("update", done, len(trajectories))
    scored_terms = figures.all()
    if scored_terms is None:
        return Updated(0.0, None, figures)
    if first:
        check_ratios_are_one(scored_terms, trajectories[0].steps[0].precision)
    with run.clock("optimizer"):
        total = float(sum(losses[1:], losses[0]))
        return Updated(total, learner.step(total), figures)
