"""One iteration: sample, score, weigh, update."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from guardcore import noise
from guardcore.batch_size import with_room
from guardcore.diversity import diversity, thumbnails
from guardcore.figures import Row, headline
from guardcore.learner import Learner
from guardcore.plan import draw_prompts, micro_batches, shares, trained_steps
from guardcore.prompt import Prompt
from guardcore.recording import Tape
from guardcore.rollout import decode, denoise
from guardcore.run import Run
from guardcore.trajectory import Trajectory
from guardcore.update import update
from guardcore.weighing import weigh

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
    settings, seed = run.config.rollout, run.config.seed
    chosen = draw_prompts(len(run.train_prompts), settings.groups, seed, iteration)
    prompts = [run.train_prompts[c] for c in chosen for _ in range(settings.group_size)]
    groups = torch.arange(settings.groups).repeat_interleave(settings.group_size)

    trajectories, rewards, pictures = sample(run, prompts, iteration)
    advantages = weigh(run, rewards, groups, len(trajectories[0].steps))

    updates, rows, tape = [], [], Tape(recordings, iteration, run.calibrator)
    every = run.config.train.step_gradients_every
    by_step = every > 0 and (iteration - 1) % every == 0
    parts = shares(
        len(trajectories),
        run.config.train.updates_per_iteration,
        run.config.train.samples_per_update,
    )
    for number, part in enumerate(parts, 1):
        share = [trajectories[place] for place in part]
        tape.before_update(part, learner.parameters)
        updates.append(update(run, learner, share, advantages, first=number == 1, by_step=by_step))
        rows += updates[-1].figures.rows(iteration, number)
        if learner.exhausted:
            break
    tape.write(learner.parameters, trajectories, prompts, rewards, advantages)

    run.calibrator.take([done.figures for done in updates])
    norms = [done.grad_norm for done in updates if done.grad_norm is not None]
    metrics = {f"reward/{name}": float(values.mean()) for name, values in rewards.items()}
    metrics["diversity"] = diversity(pictures, groups)
    metrics |= headline([done.figures for done in updates])
    metrics["loss"] = sum(done.loss for done in updates) / len(updates)
    metrics["grad_norm"] = sum(norms) / len(norms) if norms else 0.0
    metrics["advantage/zero"] = float((advantages == 0).all(1).double().mean())
    metrics["updates/skipped"] = learner.skipped
    metrics["batch_size"] = run.batch_size.size
    return metrics, rows


def sample(
    run: Run, prompts: list[Prompt], iteration: int
) -> tuple[list[Trajectory], dict[str, Tensor], Tensor]:
    """Sample every micro-batch, and score it while the next one is sampled.

    Returns:
        The trajectories, every trained reward ``[N]``, and the images' thumbnails ``[N, F]``.
    """
    settings, seed, backbone = run.config.rollout, run.config.seed, run.backbone
    size = settings.height, settings.width
    schedule = backbone.schedule(settings.num_inference_steps, *size)
    stochastic = trained_steps(settings, seed, iteration)
    shape = backbone.latent_shape(*size)
    trajectories, pictures = [], []
    with run.scoring(run.trained_rewards) as scoring:
        for batch in micro_batches(len(prompts), run.batch_size.size):
            texts = prompts[batch.start : batch.stop]
            with run.clock("encode"):
                condition = backbone.encode(texts, *size)

            def source(what: str, batch: range = batch) -> Tensor:
                shared = settings.same_noise and what == "start"
                samples = [s // settings.group_size for s in batch] if shared else batch
                return noise.draw(shape, seed, iteration, what, samples)

            x, taken = denoise(
                backbone, run.objective.sampler, schedule, condition, source, stochastic, run.clock
            )
            images = decode(backbone, x, condition, run.clock)
            scoring.submit(images, texts)
            pictures.append(thumbnails(images))
            kept = Trajectory(batch, condition, taken, stochastic)
            trajectories.append(kept.offload() if settings.offload_trajectories else kept)
            run.trackers.progress("sample", batch.stop, len(prompts))
        return trajectories, scoring.collect(), torch.cat(pictures)
