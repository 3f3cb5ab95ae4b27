"""How far the policy has gone from the base model, in nats."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from guardcore import noise
from guardcore.batch_size import with_room
from guardcore.evaluation import prepared_prompts
from guardcore.plan import micro_batches
from guardcore.prompt import Prompt
from guardcore.rollout import denoise
from guardcore.run import Run
from guardcore.tensors import promote, reduce_latents
from guardcore.trajectory import TakenStep


def kl_to_base(run: Run, images: int) -> float:
    """Return KL(policy ‖ base) of whole trajectories, a mean over ``images`` held-out prompts.

    Along trajectories of the policy, as training samples them, the steps' divergences
    ``‖mean − mean_base‖²/(2·std²)`` add up (the chain rule): over latent dimensions and over the
    steps that may be trained, where alone both are distributions.

    Raises:
        GuardcoreError: There are no held-out prompts.
    """
    prompts = prepared_prompts(run, images)
    batch_size = run.batch_size.copy()
    return with_room(batch_size, lambda: _kl_to_base(run, prompts, batch_size.size))


def _kl_to_base(run: Run, prompts: Sequence[Prompt], batch_size: int) -> float:
    pieces = run.ranks.deal(micro_batches(len(prompts), batch_size))
    with run.ranks.phase("divergence"):
        turns = run.ranks.turns(pieces)
        found = [_of_piece(run, prompts[piece.rows], piece.samples) for piece, _ in turns]
    counted = [own for own, (_, counts) in zip(found, turns, strict=True) if counts]
    own = torch.cat(counted or [torch.empty(0)])
    return float(run.ranks.gather(own, pieces, "divergence").mean())


@torch.no_grad()
def _of_piece(run: Run, prompts: Sequence[Prompt], samples: range) -> Tensor:
    """Return the divergence ``[B]`` of a micro-batch's trajectories."""
    config, backbone = run.config, run.backbone
    size = config.rollout.height, config.rollout.width
    schedule = backbone.schedule(config.rollout.num_inference_steps, *size)
    shape = backbone.latent_shape(*size)
    condition = backbone.encode(prompts, *size)

    def source(what: str) -> Tensor:
        return noise.draw(shape, config.seed, 0, f"divergence {what}", samples)

    sampler, reach = run.objective.sampler, run.steps.reach
    _, taken = denoise(backbone, sampler, schedule, condition, source, reach, run.clock)
    with backbone.reference():
        velocities = [promote(backbone.velocity(t.x, t.step.sigma, condition)) for t in taken]
    steps = [_divergence(run, t, v) for t, v in zip(taken, velocities, strict=True)]
    return torch.stack(steps).sum(0).cpu()


def _divergence(run: Run, taken: TakenStep, velocity: Tensor) -> Tensor:
    """Return one step's divergence ``[B]`` from what ``velocity`` would have made of it."""
    base = run.objective.sampler.transition(velocity, taken.x, taken.step)
    d = promote(taken.old.mean) - promote(base.mean)
    return reduce_latents(d**2, "sum") / (2 * promote(taken.old.std) ** 2)
