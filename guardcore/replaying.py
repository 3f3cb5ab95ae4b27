"""What a chain of ratio transforms does to recorded data: nothing is trained, nothing written.

The recorded latents are scored as the update scored them, by the same code, under the weights of
that moment; only the words on the ratio and the gradient differ between candidates.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from guardcore.binding import bind
from guardcore.calibration import Calibrator
from guardcore.candidates import Word, find_candidates
from guardcore.clock import Clock
from guardcore.components import Backbone
from guardcore.config import RunConfig
from guardcore.errors import GuardcoreError
from guardcore.layers import parse_config, read_yaml
from guardcore.learner import load_weights
from guardcore.plugins import PluginHost
from guardcore.recording import Recording, find_recording
from guardcore.registry import Registry
from guardcore.run import build_backbone
from guardcore.run_directory import RunDirectory
from guardcore.tally import Replayed, Tally
from guardcore.trajectory import Trajectory
from guardcore.weighing import Weighed

_log = logging.getLogger("guardcore")


@dataclass(frozen=True)
class Replay:
    """An update seen again.

    Attributes:
        iteration: The recorded iteration.
        update: Its update, from 1.
        candidates: By name, the run's own first.
        seconds: What scoring took, without loading the model.
    """

    iteration: int
    update: int
    candidates: dict[str, Replayed]
    seconds: float


def replay(
    directory: Path | str,
    *,
    iteration: int | None = None,
    update: int | None = None,
    strategies: Sequence[str] = (),
    ratio: Sequence[Word] = (),
    gradient_weight: Sequence[Word] = (),
    gradient: bool = True,
    config: RunConfig | None = None,
    registry: Registry | None = None,
) -> Replay:
    """Score a recorded update again: as it was, and as it would have been under other words.

    The run's own words are candidate ``run``; those of ``ratio`` and ``gradient_weight`` make the
    candidate ``chain``. No reward and no tracker is built.

    Args:
        directory: A run that was trained with ``record.iterations``; nothing in it changes.
        iteration: A recorded one; the last by default.
        update: One of its updates, from 1; the last by default. In the first every ratio is 1.
        strategies: Candidates by name, with the run's ``strategy_options``.
        ratio: A chain of ratio transforms, each as on the command line or a function; the run's
            own where only ``gradient_weight`` is given.
        gradient_weight: Gradient weights, likewise.
        gradient: Measure each step's gradient, which costs a backward pass a candidate.
        config: The run's by default; with another device, for example.
        registry: The components; the installed plugins' by default.

    Raises:
        GuardcoreError: No run, no such recording or update, or an unknown word.
    """
    directory = Path(directory)
    registry = registry or PluginHost.on_demand().registry
    config = config or run_config(directory)
    recording = find_recording(RunDirectory(directory).recordings, iteration)
    update = _existing(recording, update)
    binding = bind(config, registry)
    candidates, warnings = find_candidates(
        config, binding, registry, strategies, ratio, gradient_weight
    )
    Calibrator([word for _, word in candidates[0].objective.ratio]).load({}, recording.facts)
    for warning in warnings:
        _log.warning(warning)
    backbone = build_backbone(config, binding)
    parameters = backbone.trainable()
    load_weights(parameters, recording.weights(update))
    start = time.perf_counter()
    trained = list(parameters.values()) if gradient else []
    tallies = [Tally(candidate, trained) for candidate in candidates]
    device = backbone.schedule(
        config.rollout.num_inference_steps, config.rollout.height, config.rollout.width
    ).sigmas.device  # where the rollout's latents lay
    batches = [recording.trajectory(batch, device) for batch in recording.updates[update - 1]]
    with torch.set_grad_enabled(gradient):
        _score(backbone, batches, recording.weighed, tallies)
    done = {tally.candidate.name: tally.result(recording.iteration, update) for tally in tallies}
    return Replay(recording.iteration, update, done, time.perf_counter() - start)


def run_config(directory: Path) -> RunConfig:
    """Return a run's config.

    Raises:
        GuardcoreError: ``directory`` holds no run.
    """
    path = RunDirectory(directory).config
    if not path.is_file():
        raise GuardcoreError(f"{directory} is no run directory: it has no config.yaml")
    return parse_config(read_yaml(path))


def _existing(recording: Recording, update: int | None) -> int:
    number = len(recording.updates)
    update = number if update is None else update
    if not 1 <= update <= number:
        raise GuardcoreError(
            f"iteration {recording.iteration} has no update {update}; it was recorded with "
            f"updates 1 to {number}"
        )
    return update


def _score(
    backbone: Backbone,
    batches: Sequence[Trajectory],
    weighed: Weighed,
    tallies: Sequence[Tally],
) -> None:
    """Score every term with every candidate, on one forward pass; as ``update``, step by step."""
    objective, clock = tallies[0].candidate.objective, Clock()
    terms = weighed.terms([kept.rows for kept in batches], len(batches[0].indices))
    scored = False
    for place, step in enumerate(batches[0].indices):
        for kept in batches:
            if not objective.penalty and not weighed.advantages[kept.rows, place].any():
                continue
            batch, scored = kept.onload(), True
            taken = batch.steps[place]
            own = weighed.of(kept.rows, taken.x.device)
            advantages = [own.advantages[:, place]]
            (context,) = objective.contexts(backbone, batch.condition, [taken], advantages, clock)
            mean = partial(own.mean, terms=terms)
            for tally in tallies:
                tally.add(step, context, mean, keep=tally is not tallies[-1])
        for tally in tallies:
            tally.close(step)
    if not scored:
        raise GuardcoreError("every advantage of this update is 0: there is nothing to score")
