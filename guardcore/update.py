"""One optimiser update: score what was sampled, weigh it, step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guardcore.figures import UpdateFigures
from guardcore.learner import Learner
from guardcore.preflight import check_ratios_are_one
from guardcore.run import Run
from guardcore.step_gradients import StepGradients
from guardcore.trajectory import Trajectory
from guardcore.weighing import Weighed


@dataclass(frozen=True, eq=False)
class Updated:
    """What an update did; ``grad_norm`` is None where it was skipped or had nothing to learn."""

    loss: float
    grad_norm: float | None
    figures: UpdateFigures


def update(
    run: Run,
    learner: Learner,
    trajectories: Sequence[Trajectory],
    weighed: Weighed,
    *,
    first: bool,
    by_step: bool = False,
) -> Updated:
    """Accumulate the gradient over ``trajectories`` and their steps, then step once.

    The loss is the mean over all (sample, step) terms that count, so a short micro-batch weighs
    what its rows weigh, and a refilled iteration what any other does. A micro-batch whose
    advantages are all 0 has no gradient and is not run, unless a penalty gives it one.

    Args:
        run: The components.
        learner: The optimiser.
        trajectories: The update's share of the rollout.
        weighed: What each sample weighs, at each trained step.
        first: Whether this is the iteration's first update, where every ratio must be 1.
        by_step: Measure each step's gradient by itself. It is the same sum in another order, so
            its last bits differ.

    Raises:
        PreflightError: A ratio of the first update is not 1.
    """
    figures = UpdateFigures()
    terms = weighed.terms(trajectories)
    gradients = StepGradients(learner.parameters.values()) if by_step else None
    losses = []
    for kept, places, done in _passes(trajectories, by_step):
        trajectory = kept.onload()
        for place in places:
            taken, advantage = trajectory.steps[place], weighed.advantages[trajectory.rows, place]
            if not run.objective.penalty and not advantage.any():
                continue
            advantage = advantage.to(taken.x.device)
            scored = run.objective.score(
                run.backbone, trajectory.condition, taken, advantage, run.clock
            )
            loss = weighed.mean(scored.loss, trajectory.rows, terms)
            with run.clock("backward"):
                loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            figures.add(trajectory.indices[place], scored)
        if gradients is not None and kept is trajectories[-1]:
            gradients.close(trajectory.indices[places[-1]])
        run.trackers.progress("update", done, len(trajectories))
    if gradients is not None:
        gradients.restore()
        figures.grad_norms = gradients.norms
    scored_terms = figures.all()
    if scored_terms is None:
        return Updated(0.0, None, figures)
    if first:
        check_ratios_are_one(scored_terms, trajectories[0].steps[0].precision)
    with run.clock("optimizer"):
        total = float(sum(losses[1:], losses[0]))
        return Updated(total, learner.step(total), figures)


def _passes(
    trajectories: Sequence[Trajectory], by_step: bool
) -> Iterator[tuple[Trajectory, range, int]]:
    """Yield micro-batches with the places of the steps to score, and how many are done then.

    A micro-batch with all its steps at a time, or ``by_step`` one step of all micro-batches.
    """
    steps, number = len(trajectories[0].steps), len(trajectories)
    if not by_step:
        yield from ((kept, range(steps), done) for done, kept in enumerate(trajectories, 1))
        return
    for place in range(steps):
        for kept in trajectories:
            yield kept, range(place, place + 1), number * (place + 1) // steps
