"""An iteration's images: sampled, scored while the next are sampled, and refilled.

A group whose images all score the same says nothing about what is better. With ``rollout.refill``
such groups give their place to groups of fresh prompts, in rounds (DAPO, arXiv 2503.14476, dynamic
sampling). A round appends whole micro-batches, and samples are numbered on, so that noise depends
on nothing else. Rows that have lost their place stay in their micro-batch, because an update scores
micro-batches in the shape in which they were sampled; but they don't count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from guardcore import noise
from guardcore.diversity import thumbnails
from guardcore.plan import draw_prompts, micro_batches, refill_prompts
from guardcore.prompt import Prompt
from guardcore.rollout import decode, denoise
from guardcore.run import Run
from guardcore.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class Sampled:
    """What an iteration's rollout left; its N samples lie group by group.

    Attributes:
        trajectories: The micro-batches with a row that counts.
        prompts: One a sample.
        rewards: Every trained reward, ``[N]``.
        pictures: Thumbnails, ``[N, F]``.
        counted: ``[N]`` bool; False where a fresh group has taken the place of this one.
    """

    trajectories: Sequence[Trajectory]
    prompts: Sequence[Prompt]
    rewards: Mapping[str, Tensor]
    pictures: Tensor
    counted: Tensor

    def without(self, rows: Tensor) -> Sampled:
        """Return it with ``rows [N]`` (bool) out of the count, and no micro-batch for nothing."""
        counted = self.counted & ~rows
        kept = [t for t in self.trajectories if counted[t.rows].any()]
        return replace(self, trajectories=kept, counted=counted)

    def followed_by(self, more: Sampled) -> Sampled:
        """Return it with the samples of a further round after its own."""
        return Sampled(
            trajectories=[*self.trajectories, *more.trajectories],
            prompts=[*self.prompts, *more.prompts],
            rewards={name: torch.cat([r, more.rewards[name]]) for name, r in self.rewards.items()},
            pictures=torch.cat([self.pictures, more.pictures]),
            counted=torch.cat([self.counted, more.counted]),
        )


def sample(run: Run, iteration: int) -> Sampled:
    """Sample and score the iteration's groups; with ``rollout.refill``, until each has a spread.

    After the last round a group without one counts, as it would without refilling.
    """
    settings, seed = run.config.rollout, run.config.seed
    number, size = len(run.train_prompts), settings.group_size
    chosen = draw_prompts(number, settings.groups, seed, iteration)
    sampled = _round(run, chosen, 0, iteration)
    fresh = refill_prompts(number, chosen, seed, iteration)
    for _ in range(settings.refill):
        constant = constant_groups(sampled.rewards, run.reward_weights, size)
        rows = constant.repeat_interleave(size) & sampled.counted
        groups = int(rows.sum()) // size
        if groups == 0:
            break
        sampled = sampled.without(rows)
        more = _round(run, list(islice(fresh, groups)), len(sampled.prompts), iteration)
        sampled = sampled.followed_by(more)
    return sampled


def constant_groups(
    rewards: Mapping[str, Tensor], weights: Mapping[str, float], group_size: int
) -> Tensor:
    """Return ``[G]`` bool: whether the weighted sum of rewards is one number in the group."""
    total = torch.stack([weights[name] * values for name, values in rewards.items()]).sum(0)
    scores = total.reshape(-1, group_size)
    return scores.amax(1) == scores.amin(1)


def _round(run: Run, chosen: Sequence[int], first: int, iteration: int) -> Sampled:
    """Sample groups of the prompts ``chosen``; ``first`` is the number of the first sample."""
    settings, seed, backbone = run.config.rollout, run.config.seed, run.backbone
    size = settings.height, settings.width
    prompts = [run.train_prompts[c] for c in chosen for _ in range(settings.group_size)]
    schedule = backbone.schedule(settings.num_inference_steps, *size)
    stochastic = run.steps.at(seed, iteration)
    shape = backbone.latent_shape(*size)
    trajectories, pictures = [], []
    with run.scoring(run.trained_rewards) as scoring:
        for batch in micro_batches(len(prompts), run.batch_size.size):
            texts = prompts[batch.start : batch.stop]
            numbers = range(first + batch.start, first + batch.stop)
            with run.clock("encode"):
                condition = backbone.encode(texts, *size)

            def source(what: str, numbers: range = numbers) -> Tensor:
                shared = settings.same_noise and what == "start"
                samples = [s // settings.group_size for s in numbers] if shared else numbers
                return noise.draw(shape, seed, iteration, what, samples)

            x, taken = denoise(
                backbone, run.objective.sampler, schedule, condition, source, stochastic, run.clock
            )
            images = decode(backbone, x, condition, run.clock)
            scoring.submit(images, texts)
            pictures.append(thumbnails(images))
            kept = Trajectory(numbers, condition, taken, stochastic)
            trajectories.append(kept.offload() if settings.offload_trajectories else kept)
            run.trackers.progress("sample", numbers.stop, first + len(prompts))
        return Sampled(
            trajectories=trajectories,
            prompts=prompts,
            rewards=scoring.collect(),
            pictures=torch.cat(pictures),
            counted=torch.ones(len(prompts), dtype=torch.bool),
        )
