"""One iteration: sample, score, weigh, update."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from guardcore.batch_size import with_room
from guardcore.diversity import diversity
from guardcore.figures import Row, headline
from guardcore.learner import Learner
from guardcore.plan import shares
from guardcore.recording import Tape
from guardcore.run import Run
from guardcore.sampling import Sampled, sample
from guardcore.update import Updated, update
from guardcore.weighing import Weighed, weigh

Figures = tuple[dict[str, float], list[Row]]
"""An iteration's metrics, and its rows of ``steps.jsonl``."""


def iterate_with_room(
    run: Run, learner: Learner, iteration: int, recordings: Path | None = None
) -> Figures:
    """Do one iteration; where the memory is too small, anew with half the micro-batch.

    Raises:
        GuardcoreError: One image is too much, or the config forbids halving.
    """
    before = learner.snapshot() if run.batch_size.may_halve else ({}, {})
    return with_room(
        run.batch_size,
        lambda: iterate(run, learner, iteration, recordings),
        lambda: learner.load(*before),
    )


def iterate(run: Run, learner: Learner, iteration: int, recordings: Path | None = None) -> Figures:
    """Do one iteration, written whole below ``recordings`` if given; return metrics and rows."""
    sampled = sample(run, iteration)
    weighed = weigh(run, sampled.rewards, sampled.counted, len(sampled.indices))

    updates, rows, tape = [], [], Tape(recordings, iteration, run.calibrator)
    every = run.config.train.step_gradients_every
    by_step = every > 0 and (iteration - 1) % every == 0
    parts = shares(
        len(sampled.pieces),
        run.config.train.updates_per_iteration,
        run.config.train.samples_per_update,
    )
    for number, part in enumerate(parts, 1):
        share = sampled.part(part)
        tape.before_update(part, learner.parameters)
        updates.append(update(run, learner, share, weighed, first=number == 1, by_step=by_step))
        rows += updates[-1].figures.rows(iteration, number)
        if learner.exhausted:
            break
    tape.write(learner.parameters, sampled, weighed)

    run.calibrator.take([done.figures for done in updates])
    return _metrics(run, learner, sampled, weighed, updates), rows


def _metrics(
    run: Run, learner: Learner, sampled: Sampled, weighed: Weighed, updates: Sequence[Updated]
) -> dict[str, float]:
    """Return the iteration's figures.

    Rewards and diversity are those of the prompts that the iteration began with: which groups are
    refilled depends on their rewards, and a mean over what is left would be another quantity.
    """
    settings = run.config.rollout
    first = settings.groups * settings.group_size
    norms = [done.grad_norm for done in updates if done.grad_norm is not None]
    rewards = {name: values[:first].mean() for name, values in sampled.rewards.items()}
    metrics = {f"reward/{name}": float(mean) for name, mean in rewards.items()}
    groups = torch.arange(first) // settings.group_size
    metrics["diversity"] = diversity(sampled.pictures[:first], groups)
    metrics |= headline([done.figures for done in updates])
    metrics["loss"] = sum(done.loss for done in updates) / len(updates)
    metrics["grad_norm"] = sum(norms) / len(norms) if norms else 0.0
    metrics["learning_rate"] = learner.learning_rate
    zero = (weighed.advantages[weighed.counted] == 0).all(1)
    metrics["advantage/zero"] = float(zero.double().mean())
    if settings.refill:
        metrics["rollout/refilled"] = int((~sampled.counted).sum()) // settings.group_size
    metrics["updates/skipped"] = learner.skipped
    metrics["batch_size"] = run.batch_size.size
    return metrics
