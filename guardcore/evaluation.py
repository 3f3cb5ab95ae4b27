"""Held-out prompts, fixed noise, a sampler of its own: only the weights differ."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guardcore import noise
from guardcore.batch_size import with_room
from guardcore.change import paired_difference as paired_difference
from guardcore.components import PromptSource
from guardcore.errors import GuardcoreError
from guardcore.plan import micro_batches
from guardcore.prompt import Prompt
from guardcore.rollout import decode, denoise
from guardcore.run import Run, prepare_prompts


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What came of it.

    Attributes:
        prompts: One an image.
        scores: By reward, ``[M]`` each.
        images: The first few, ``[G, 3, H, W]``.
    """

    prompts: Sequence[Prompt]
    scores: dict[str, Tensor]
    images: Tensor

    def metrics(self) -> dict[str, float]:
        """Return the mean of every score as ``eval/<name>``."""
        return {f"eval/{name}": float(values.mean()) for name, values in self.scores.items()}

    def by_tag(self) -> dict[str, dict[str, Tensor]]:
        """Return the scores of each ``tag`` in the prompts' metadata, as a benchmark's tasks."""
        tags = [prompt.metadata.get("tag") for prompt in self.prompts]
        rows = {tag: [t == tag for t in tags] for tag in tags if isinstance(tag, str)}
        return {
            tag: {name: values[torch.tensor(row)] for name, values in self.scores.items()}
            for tag, row in rows.items()
        }

    def record(self) -> dict[str, Any]:
        """Return prompts and scores as plain data."""
        scores = {name: values.tolist() for name, values in self.scores.items()}
        return {"prompts": [prompt.text for prompt in self.prompts], "scores": scores}


def evaluate(run: Run) -> Evaluation:
    """Sample the held-out prompts under the weights as they are now, and score them.

    Out of memory, it halves its own batch size, not the training's.

    Raises:
        GuardcoreError: There are no held-out prompts.
    """
    prompts = prepared_prompts(run, run.config.evaluate.num_images)
    batch_size = run.batch_size.copy()
    return with_room(batch_size, lambda: _evaluate(run, prompts, batch_size.size))


def _evaluate(run: Run, prompts: Sequence[Prompt], batch_size: int) -> Evaluation:
    settings, ranks = run.config.evaluate, run.ranks
    pieces = ranks.deal(micro_batches(len(prompts), batch_size))
    shown = [
        p._replace(samples=p.samples[: max(0, settings.grid - p.samples.start)]) for p in pieces
    ]
    images = []
    guidance = guided(run, settings.guidance_scale)
    with guidance, run.scoring(run.rewards) as scoring, ranks.phase("evaluation"):
        for piece, counts in ranks.turns(pieces):
            texts = prompts[piece.rows]
            pictures = sample_images(run, texts, piece.samples, "evaluation")
            if not counts:
                continue
            scoring.submit(pictures, texts)
            images.append(pictures[: max(0, settings.grid - piece.samples.start)])
            run.trackers.progress("evaluate", piece.samples.stop, len(prompts))
        scores = scoring.collect()
    gathered = {name: ranks.gather(own, pieces, "held-out scores") for name, own in scores.items()}
    none = [torch.empty(0, 3, run.config.rollout.height, run.config.rollout.width)]
    grid = ranks.gather(torch.cat(images or none), shown, "held-out images")
    return Evaluation(prompts, gathered, grid)


def prepared_prompts(run: Run, number: int | None) -> list[Prompt]:
    """Return ``number`` held-out prompts, each once by default, and tell the backbone of them.

    Raises:
        GuardcoreError: There are no held-out prompts.
    """
    if run.eval_prompts is None:
        raise GuardcoreError("prompts.eval: not given, so there is nothing to evaluate on")
    prompts = held_out(run.eval_prompts, number or len(run.eval_prompts))
    prepare_prompts(run.backbone, prompts)
    return prompts


def held_out(source: PromptSource, number: int) -> list[Prompt]:
    """Return the first ``number`` prompts, from the beginning again where there are fewer."""
    return [source[place % len(source)] for place in range(number)]


def sample_images(run: Run, prompts: Sequence[Prompt], samples: range, purpose: str) -> Tensor:
    """Return one image a prompt by the evaluation's sampler, ``[B, 3, H, W]`` in [0, 1]."""
    config, backbone = run.config, run.backbone
    height, width = config.rollout.height, config.rollout.width
    steps = config.evaluate.num_inference_steps
    shape = backbone.latent_shape(height, width)
    condition = backbone.encode(prompts, height, width)
    x, _ = denoise(
        backbone,
        run.eval_sampler,
        backbone.schedule(steps, height, width),
        condition,
        lambda what: noise.draw(shape, config.seed, 0, f"{purpose} {what}", samples),
        range(steps - 1),
        run.clock,
    )
    return decode(backbone, x, condition, run.clock)


def guided(run: Run, scale: float | None) -> AbstractContextManager[Any]:
    """Inside, the backbone's guidance has another scale; None leaves it."""
    if scale is None:
        return nullcontext()
    context: AbstractContextManager[Any] = run.backbone.guidance(scale)  # type: ignore[attr-defined]
    return context
