"""The rollout of an iteration: micro-batch by micro-batch, rewards at work beside it."""

from __future__ import annotations

import torch
from torch import Tensor

from guardcore import noise
from guardcore.diversity import thumbnails
from guardcore.plan import micro_batches, trained_steps
from guardcore.prompt import Prompt
from guardcore.rollout import decode, denoise
from guardcore.run import Run
from guardcore.trajectory import Trajectory


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
