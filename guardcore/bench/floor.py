"""The bare loop: an iteration as a published script would write it, and nothing else.

It makes the same encode, velocity, decode, reward and advantage calls as ``iterate``, over
the same prompts, micro-batches and trained steps, and as many backward passes. Left out, because
ours pays for them: samplers and ratio words as plugins, figures, clocks, trackers, checks of
shapes and numbers, noise that does not depend on batching, gradient clipping, EMA. What ours has
ahead of it is that rewards work beside the sampling: here they are waited for one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from guardcore.condition import Condition
from guardcore.plan import shares
from guardcore.prompt import Prompt
from guardcore.run import Run

ETA, CLIP, KL = 0.7, 1e-4, 0.04  # constants: what they are costs nothing

Taken = tuple[Tensor, Tensor, Tensor, tuple[float, float, float], Tensor]
"""x, x_next, sigma ``[B]``, the arguments of ``sde_step``, the old log-density ``[B]``."""


@dataclass(frozen=True)
class Batch:
    """A micro-batch as it was sampled."""

    rows: slice
    condition: Condition
    taken: Sequence[Taken]


def bare_iteration(
    run: Run,
    optimizer: Optimizer,
    prompts: Sequence[Prompt],
    trained: Sequence[int],
    clip: float = CLIP,
) -> None:
    """Sample ``prompts``, a group after the other, and update on the ``trained`` steps."""
    rollout, train = run.config.rollout, run.config.train
    batches, rewards = bare_rollout(run, prompts, trained)
    groups = torch.arange(rollout.groups).repeat_interleave(rollout.group_size)
    advantages = run.advantage(rewards, groups, run.reward_weights)
    if advantages.ndim == 1:
        advantages = advantages[:, None].expand(-1, len(trained))
    for part in shares(len(batches), train.updates_per_iteration, train.samples_per_update):
        bare_update(run, optimizer, [batches[place] for place in part], advantages, clip)


@torch.no_grad()
def bare_rollout(
    run: Run, prompts: Sequence[Prompt], trained: Sequence[int]
) -> tuple[list[Batch], dict[str, Tensor]]:
    """Return the micro-batches and the rewards ``[N]`` of all of them."""
    rollout, backbone = run.config.rollout, run.backbone
    size = rollout.height, rollout.width
    schedule = backbone.schedule(rollout.num_inference_steps, *size)
    sigmas, device = schedule.sigmas.tolist(), schedule.sigmas.device
    batches, scores = [], []
    for start in range(0, len(prompts), rollout.batch_size):
        texts = prompts[start : start + rollout.batch_size]
        condition = backbone.encode(texts, *size)
        x = torch.randn(len(texts), *backbone.latent_shape(*size), device=device)
        taken: list[Taken] = []
        for index in range(len(schedule)):
            level, dt = sigmas[index], sigmas[index] - sigmas[index + 1]
            sigma = torch.full((len(texts),), level, device=device)
            velocity = backbone.velocity(x, sigma, condition).float()
            if index in trained:
                terms = level, dt, schedule.sigma_max
                mean, std = sde_step(velocity, x, *terms)
                x_next = mean + std * torch.randn_like(x)
                taken.append((x, x_next, sigma, terms, log_density(x_next, mean, std)))
            else:
                x_next = x - velocity * dt
            x = x_next
        images = backbone.decode(x, condition).float().cpu()
        scores.append({name: r(images, texts) for name, r in run.trained_rewards.items()})
        batches.append(Batch(slice(start, start + len(texts)), condition, taken))
    return batches, {name: torch.cat([s[name] for s in scores]).cpu() for name in scores[0]}


def bare_update(
    run: Run, optimizer: Optimizer, batches: Sequence[Batch], advantages: Tensor, clip: float
) -> None:
    """Do one AdamW step on PPO's surrogate; ``advantages [N, S]`` are on the CPU."""
    backbone, with_penalty = run.backbone, bool(run.objective.penalty)
    for batch in batches:
        for place, (x, x_next, sigma, terms, old) in enumerate(batch.taken):
            advantage = advantages[batch.rows, place].to(x)
            velocity = backbone.velocity(x, sigma, batch.condition).float()
            mean, std = sde_step(velocity, x, *terms)
            ratio = (log_density(x_next, mean, std) - old).exp()
            clipped = ratio.clamp(1 - clip, 1 + clip)
            loss = torch.maximum(-advantage * ratio, -advantage * clipped).mean()
            if with_penalty:
                with torch.no_grad(), backbone.reference():
                    reference = backbone.velocity(x, sigma, batch.condition).float()
                shift = mean - sde_step(reference, x, *terms)[0]
                loss = loss + KL * (shift**2).mean() / (2 * std**2)
            loss = loss / (len(batches) * len(batch.taken))
            loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def sde_step(
    velocity: Tensor, x: Tensor, sigma: float, dt: float, sigma_max: float
) -> tuple[Tensor, float]:
    """Return mean ``[B, …]`` and standard deviation of Flow-GRPO's stochastic step."""
    diffusion = ETA * (sigma / (1 - min(sigma, sigma_max))) ** 0.5
    pull = diffusion**2 / (2 * sigma)
    mean = x * (1 - pull * dt) - velocity * ((1 + pull * (1 - sigma)) * dt)
    return mean, float(diffusion * dt**0.5)


def log_density(x: Tensor, mean: Tensor, std: float) -> Tensor:
    """Return the log-density of ``x``, ``[B]``, without its constant: it cancels in the ratio."""
    return -((x - mean) ** 2).flatten(1).mean(1) / (2 * std**2)
