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
from guardcore.diversity import FEATURES, thumbnails
from guardcore.plan import draw_prompts, micro_batches, refill_prompts
from guardcore.prompt import Prompt
from guardcore.ranks import Piece
from guardcore.rollout import decode, denoise
from guardcore.run import Run
from guardcore.schedule import Schedule
from guardcore.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class Sampled:
    """What an iteration's rollout left; its N samples lie group by group.

    Attributes:
        indices: The stochastic, trained steps.
        pieces: The micro-batches with a row that counts, of all processes.
        trajectories: This process's of them.
        prompts: One a sample.
        rewards: Every trained reward, ``[N]``.
        pictures: Thumbnails, ``[N, F]``.
        counted: ``[N]`` bool; False where a fresh group has taken the place of this one.
        spare: A micro-batch to keep step with, where the model is shared out and others have more.
    """

    indices: Sequence[int]
    pieces: Sequence[Piece]
    trajectories: Sequence[Trajectory]
    prompts: Sequence[Prompt]
    rewards: Mapping[str, Tensor]
    pictures: Tensor
    counted: Tensor
    spare: Trajectory | None = None

    def without(self, rows: Tensor) -> Sampled:
        """Return it with ``rows [N]`` (bool) out of the count, and no micro-batch for nothing."""
        counted = self.counted & ~rows
        return replace(
            self,
            pieces=[piece for piece in self.pieces if counted[piece.rows].any()],
            trajectories=[t for t in self.trajectories if counted[t.rows].any()],
            counted=counted,
        )

    def part(self, places: range) -> Sampled:
        """Return it with the micro-batches at ``places`` of ``pieces`` alone."""
        pieces = [self.pieces[place] for place in places]
        samples = {piece.samples for piece in pieces}
        own = [t for t in self.trajectories if t.samples in samples]
        return replace(self, pieces=pieces, trajectories=own)

    def followed_by(self, more: Sampled) -> Sampled:
        """Return it with the samples of a further round after its own."""
        return replace(
            self,
            pieces=[*self.pieces, *more.pieces],
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
    sampled = _round(run, iteration, chosen)
    fresh = refill_prompts(number, chosen, seed, iteration)
    for _ in range(settings.refill):
        constant = constant_groups(sampled.rewards, run.reward_weights, size)
        rows = constant.repeat_interleave(size) & sampled.counted
        groups = int(rows.sum()) // size
        if groups == 0:
            break
        sampled = sampled.without(rows)
        more = _round(run, iteration, list(islice(fresh, groups)), sampled)
        sampled = sampled.followed_by(more)
    return sampled


def constant_groups(
    rewards: Mapping[str, Tensor], weights: Mapping[str, float], group_size: int
) -> Tensor:
    """Return ``[G]`` bool: whether the weighted sum of rewards is one number in the group."""
    total = torch.stack([weights[name] * values for name, values in rewards.items()]).sum(0)
    scores = total.reshape(-1, group_size)
    return scores.amax(1) == scores.amin(1)


def _round(
    run: Run, iteration: int, chosen: Sequence[int], before: Sampled | None = None
) -> Sampled:
    """Sample groups of the prompts ``chosen``; samples are numbered on from those ``before``."""
    settings = run.config.rollout
    size = settings.height, settings.width
    schedule = run.backbone.schedule(settings.num_inference_steps, *size)
    prompts = [run.train_prompts[c] for c in chosen for _ in range(settings.group_size)]
    first, dealt = (len(before.prompts), len(before.pieces)) if before else (0, 0)
    batches = [
        range(first + batch.start, first + batch.stop)
        for batch in micro_batches(len(prompts), run.batch_size.size)
    ]
    pieces = run.ranks.deal(batches, dealt)
    stochastic = run.steps.at(run.config.seed, iteration)
    trajectories, pictures, spare = [], [torch.empty(0, FEATURES)], None
    with run.scoring(run.trained_rewards) as scoring, run.ranks.phase("sampling"):
        for piece, counts in run.ranks.turns(pieces):
            texts = prompts[piece.samples.start - first : piece.samples.stop - first]
            kept, images = _micro_batch(run, iteration, piece.samples, texts, schedule, stochastic)
            kept = kept.offload() if settings.offload_trajectories else kept
            spare = kept if run.ranks.in_step else None
            if not counts:
                continue
            scoring.submit(images, texts)
            pictures.append(thumbnails(images))
            trajectories.append(kept)
            run.trackers.progress("sample", piece.samples.stop, first + len(prompts))
        scores = scoring.collect()
    with run.clock("waiting"):
        return Sampled(
            indices=stochastic,
            pieces=pieces,
            trajectories=trajectories,
            prompts=prompts,
            rewards={n: run.ranks.gather(s, pieces, "scores") for n, s in scores.items()},
            pictures=run.ranks.gather(torch.cat(pictures), pieces, "pictures"),
            counted=torch.ones(len(prompts), dtype=torch.bool),
            spare=spare,
        )


def _micro_batch(
    run: Run,
    iteration: int,
    numbers: range,
    prompts: Sequence[Prompt],
    schedule: Schedule,
    stochastic: Sequence[int],
) -> tuple[Trajectory, Tensor]:
    """Sample the micro-batch of the samples ``numbers``; return it and its images."""
    settings, seed, backbone = run.config.rollout, run.config.seed, run.backbone
    size = settings.height, settings.width
    shape = backbone.latent_shape(*size)
    with run.clock("encode"):
        condition = backbone.encode(prompts, *size)

    twins = [s // settings.group_size for s in numbers] if settings.same_noise else []

    def source(what: str) -> Tensor:
        samples = twins if twins and what == "start" else numbers
        return noise.draw(shape, seed, iteration, what, samples)

    sampler, clock = run.objective.sampler, run.clock
    x, taken = denoise(backbone, sampler, schedule, condition, source, stochastic, clock, twins)
    return Trajectory(numbers, condition, taken, stochastic), decode(backbone, x, condition, clock)
