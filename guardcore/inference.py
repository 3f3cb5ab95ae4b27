"""A trained model without its training: for sampling and evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from guardcore.batch_size import with_room
from guardcore.binding import bind
from guardcore.config import RunConfig
from guardcore.evaluation import guided, sample_images
from guardcore.learner import load_weights
from guardcore.plan import micro_batches
from guardcore.plugins import PluginHost
from guardcore.prompt import Prompt
from guardcore.run import Run, prepared
from guardcore.run_directory import RunDirectory


@contextmanager
def trained(
    config: RunConfig, directory: Path | None, iteration: int | None = None
) -> Iterator[Run]:
    """Build a run's components without trackers, with the weights of a checkpoint.

    The moving averages are taken where the run kept them. Without a directory, or for iteration
    0, the model is the base.

    Raises:
        CheckpointError: There is no such checkpoint.
    """
    silent = config.model_copy(update={"tracker": ()})
    with prepared(silent, bind(silent, PluginHost.on_demand().registry)) as run:
        if directory is not None and iteration != 0:
            state, _ = RunDirectory(directory).checkpoint(iteration).load()
            load_weights(run.backbone.trainable(), state.get("ema", state["weights"]))
        yield run


def sample_prompts(run: Run, prompts: Sequence[Prompt]) -> Tensor:
    """Return one image a prompt, ``[N, 3, H, W]`` in [0, 1]; the seed is the config's."""

    def images() -> Tensor:
        batches = micro_batches(len(prompts), run.batch_size.size)
        return torch.cat(
            [sample_images(run, prompts[b.start : b.stop], b, "sample") for b in batches]
        )

    with guided(run, run.config.evaluate.guidance_scale):
        return with_room(run.batch_size, images)


def standard_error(values: Tensor) -> float:
    """Return the standard error of the mean of ``values [N]``."""
    return float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.inf
