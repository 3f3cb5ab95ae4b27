"""One optimiser update: score what was sampled, weigh it, step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guardcore.figures import UpdateFigures
from guardcore.learner import Learner
from guardcore.objective import Scored
from guardcore.preflight import check_ratios_are_one
from guardcore.run import Run
from guardcore.sampling import Sampled
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
    sampled: Sampled,
    weighed: Weighed,
    *,
    first: bool,
    by_step: bool = False,
) -> Updated:
    """Accumulate the gradient over ``sampled`` and its steps, add up all processes', step once.

    The loss is the mean over all (sample, step) terms that count, so a short micro-batch weighs
    what its rows weigh, and a refilled iteration what any other does. A micro-batch whose
    advantages are all 0 has no gradient and is not run, unless a penalty gives it one.

    Args:
        run: The components.
        learner: The optimiser.
        sampled: The update's share of the rollout.
        weighed: What each sample weighs, at each trained step.
        first: Whether this is the iteration's first update, where every ratio must be 1.
        by_step: Measure each step's gradient by itself. It is the same sum in another order, so
            its last bits differ.

    Raises:
        PreflightError: A ratio of the first update is not 1.
    """
    work = _Work(run, sampled, weighed)
    parameters = learner.parameters.values()
    gradients = StepGradients(parameters) if by_step else None
    steps = len(sampled.indices)
    for places in [range(p, p + 1) for p in range(steps)] if by_step else [range(steps)]:
        with run.ranks.phase("update"):
            work.accumulate(places)
        with run.clock("waiting"):
            run.ranks.sum_gradients(parameters, "update")
        if gradients is not None:
            gradients.close(sampled.indices[places[-1]])
    figures = work.everybodys_figures()
    if gradients is not None:
        gradients.restore()
        figures.grad_norms = gradients.norms
    scored_terms = figures.all()
    if scored_terms is None:
        return Updated(0.0, None, figures)
    if first and sampled.trajectories:
        check_ratios_are_one(scored_terms, sampled.trajectories[0].steps[0].precision)
    with run.clock("optimizer"), run.ranks.phase("optimizer"):
        total = run.ranks.sum(work.loss(), "update")
        return Updated(total, learner.step(total), figures)


class _Work:
    """The micro-batches that this process has in an update, and what came of them."""

    def __init__(self, run: Run, sampled: Sampled, weighed: Weighed) -> None:
        self._run, self._sampled, self._weighed = run, sampled, weighed
        self._terms = weighed.terms([p.rows for p in sampled.pieces], len(sampled.indices))
        self._figures = UpdateFigures()
        self._losses: list[Tensor] = []

    def loss(self) -> float:
        """Return this process's part of the loss."""
        return float(sum(self._losses))

    def accumulate(self, places: range) -> None:
        """Score own micro-batches at the trained steps ``places``, and run back through them."""
        number, steps = len(self._sampled.trajectories), len(self._sampled.indices)
        for done, kept in enumerate(self._sampled.trajectories, 1):
            trajectory = kept.onload()
            weighed = self._weighed.of(trajectory.rows, trajectory.steps[0].x.device)
            for together in self._forwards(trajectory.rows, places):
                self._backward(trajectory, weighed, together)
            so_far = (places.start * number + len(places) * done) // steps
            self._run.trackers.progress("update", so_far, number)
        for place in self._missing(places):
            self._keep_step(place)

    def everybodys_figures(self) -> UpdateFigures:
        """Return the figures of all processes' micro-batches."""
        scored = {
            index: [p for p in self._sampled.pieces if self._teaches(p.rows, place)]
            for place, index in enumerate(self._sampled.indices)
        }
        with self._run.clock("waiting"):
            return self._figures.gathered(self._run.ranks, scored)

    def _teaches(self, rows: slice, place: int) -> bool:
        """Whether a micro-batch has a gradient at a step: every process knows it of all."""
        penalised = bool(self._run.objective.penalty)
        return penalised or bool(self._weighed.advantages[rows, place].any())

    def _forwards(self, rows: slice, places: range) -> list[list[int]]:
        """Return a micro-batch's trained steps that teach, as they share forwards."""
        teaching = [place for place in places if self._teaches(rows, place)]
        number = self._run.config.train.steps_per_forward
        return [teaching[at : at + number] for at in range(0, len(teaching), number)]

    def _missing(self, places: range) -> list[int]:
        """Return a place for each pass that others have to run, and this process has not."""
        run, sampled = self._run, self._sampled
        if not run.ranks.in_step:
            return []
        ranks = [p.rank for p in sampled.pieces for _ in self._forwards(p.rows, places)]
        most = max((ranks.count(rank) for rank in ranks), default=0)
        return [places[0]] * (most - ranks.count(run.ranks.number))

    def _keep_step(self, place: int) -> None:
        """Call the model as often as the others do, and learn nothing."""
        spare = self._sampled.spare
        if spare is not None:
            trajectory = spare.onload()
            weighed = self._weighed.of(trajectory.rows, trajectory.steps[0].x.device)
            (scored,) = self._score(trajectory, weighed, [place])
            (0 * scored.loss.sum()).backward()  # type: ignore[no-untyped-call]

    def _score(
        self, trajectory: Trajectory, weighed: Weighed, places: Sequence[int]
    ) -> list[Scored]:
        run = self._run
        taken = [trajectory.steps[place] for place in places]
        advantages = [weighed.advantages[:, place] for place in places]
        return run.objective.score(run.backbone, trajectory.condition, taken, advantages, run.clock)

    def _backward(self, trajectory: Trajectory, weighed: Weighed, places: Sequence[int]) -> None:
        """Run back through steps that share a forward."""
        scored = self._score(trajectory, weighed, places)
        losses = [weighed.mean(step.loss, self._terms) for step in scored]
        loss = torch.stack(losses).sum()
        with self._run.clock("backward"):
            loss.backward()  # type: ignore[no-untyped-call]
        self._losses.append(loss.detach())
        for place, step in zip(places, scored, strict=True):
            self._figures.add(trajectory.indices[place], step)
