"""The training loop, top to bottom: sample, score, weigh, update, report.

Left out: a value network, because a group's mean is the baseline; a replay buffer, because the
ratio is only trusted near 1; a reward model inside the loss, because rewards are plugins.
"""

from __future__ import annotations

import logging
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guardcore import checkpoint, noise
from guardcore.batch_size import with_room
from guardcore.binding import bind
from guardcore.bound import Binding, resolved
from guardcore.config import RunConfig
from guardcore.diversity import diversity, thumbnails
from guardcore.errors import GuardcoreError
from guardcore.figures import Row, headline
from guardcore.learner import Learner, State
from guardcore.observers import Observers
from guardcore.plan import draw_prompts, micro_batches, shares, trained_steps
from guardcore.plugins import PluginHost
from guardcore.preflight import check_run
from guardcore.prompt import Prompt
from guardcore.registry import Registry
from guardcore.reporting import report_evaluation, report_iteration, report_run
from guardcore.rollout import decode, denoise
from guardcore.run import Run, coming_prompts, prepare_prompts, prepared
from guardcore.run_directory import RunDirectory
from guardcore.signals import StopRequest
from guardcore.trajectory import Trajectory
from guardcore.update import update
from guardcore.watch import Alarm, Watcher
from guardcore.weighing import weigh

_log = logging.getLogger("guardcore")

Figures = tuple[dict[str, float], list[Row]]
"""An iteration's metrics, and its rows of ``steps.jsonl``."""


@dataclass(frozen=True)
class Outcome:
    """How a call of ``train`` ended.

    Attributes:
        directory: The run directory.
        iteration: The last finished iteration.
        finished: Whether it was the run's last.
        signal: The signal that ended it early, or None.
        alarm: The alarm that ended it early, or None.
    """

    directory: Path
    iteration: int
    finished: bool
    signal: signal.Signals | None = None
    alarm: Alarm | None = None


def train(
    config: RunConfig,
    directory: Path | str,
    *,
    resume: bool = False,
    registry: Registry | None = None,
    observers: Observers | None = None,
    report: bool = True,
) -> Outcome:
    """Fine-tune a backbone, and leave everything in ``directory``.

    Args:
        config: What to do.
        directory: The run directory; new, or with ``resume`` that of the same run.
        resume: Go on from the newest whole checkpoint; from the beginning where there is none.
        registry: The components; the installed plugins' by default.
        observers: Whom to tell; with a registry of one's own nobody by default.
        report: Write ``report.html`` at the end, also of a run that was stopped or failed.

    Raises:
        GuardcoreError: A mistake that the caller can mend. A config that cannot run leaves no
            run directory; a run that fails keeps its checkpoints and writes ``error.log``.
    """
    if registry is None:
        host = PluginHost.discover()
        registry, observers = host.registry, observers or host.observers()
    binding = bind(config, registry)
    record = RunDirectory(Path(directory))
    record.check(resolved(config, binding), binding.may_change(), resume=resume)
    newest = record.newest() if resume else None
    if newest and newest.iteration >= config.train.iterations and record.adapter.is_dir():
        if report and not record.report.is_file():  # killed while writing it
            report_run(record)
        return Outcome(record.path, newest.iteration, finished=True)
    for warning in binding.warnings:
        _log.warning(warning)
    try:
        outcome = _recorded(config, binding, record, observers or Observers(), resume)
    except Exception:
        if report and record.error_log.is_file():
            report_run(record)
        raise
    if report:
        report_run(record)
    return outcome


def _recorded(
    config: RunConfig, binding: Binding, record: RunDirectory, observers: Observers, resume: bool
) -> Outcome:
    """Build the components and run them; what fails from then on is in ``error.log``."""
    with prepared(config, binding) as run:
        check_run(run)
        try:
            with StopRequest(_announce) as stop:
                record.open(resolved(config, binding), binding)
                prepare_prompts(run.backbone, coming_prompts(run))
                return _run(run, record, observers, resume, stop)
        except Exception as error:
            record.write_error(error)
            if isinstance(error, OSError):
                raise GuardcoreError(
                    f"cannot write {error.filename or record.path}: {error.strerror or error}"
                ) from error
            raise


def _run(
    run: Run, record: RunDirectory, observers: Observers, resume: bool, stop: StopRequest
) -> Outcome:
    config = run.config
    watcher = Watcher(config.watch, run.reward_weights)
    learner = Learner(run.backbone.trainable(), config.train)
    saved = checkpoint.restore(learner, record.checkpoints) if resume else checkpoint.Restored()
    start = saved.iteration
    run.batch_size.size = saved.counters.get("batch_size", run.batch_size.size)
    run.calibrator.load(saved.state, saved.counters)
    record.write_calibrated(run.calibrator.found())
    record.cut_back(start)
    watcher.recall(record)
    if start < 0 and run.eval_prompts is not None:
        metrics = report_evaluation(run, learner, record, watcher, 0)
        report_iteration(run, record, 0, metrics | run.clock.lap(), [])
        if stop.received is not None:
            return Outcome(record.path, 0, finished=False, signal=stop.received)
    for iteration in range(max(start, 0) + 1, config.train.iterations + 1):
        last = iteration == config.train.iterations
        waiting = run.calibrator.waiting
        metrics, rows = iterate_with_room(run, learner, iteration)
        if waiting:
            record.write_calibrated(run.calibrator.found())
        if run.eval_prompts is not None and (last or iteration % config.evaluate.every == 0):
            metrics |= report_evaluation(run, learner, record, watcher, iteration)
        alarm = watcher.alarm() if metrics.get("alarm") else None
        if alarm is not None:
            observers.tell("guardcore_alarm_raised", run=run, iteration=iteration, alarm=alarm)
        ended = last or (alarm is not None and config.watch.stop)
        stopping = ended or learner.exhausted or stop.received is not None
        best = watcher.best if config.watch.keep_best else None
        report_iteration(run, record, iteration, metrics | run.clock.lap(), rows)
        if stopping or iteration % config.checkpoint.every == 0 or iteration == best:
            with run.clock("checkpoint"):
                state, counters = _state(run, learner)
                keep = config.checkpoint.keep
                checkpoint.save(record.checkpoints, iteration, state, counters, keep, best)
        if learner.exhausted:
            raise GuardcoreError(
                f"{learner.skipped_in_a_row} updates in a row had a non-finite gradient; "
                f"checkpoint {iteration} is saved; lower train.learning_rate"
            )
        if ended:
            _write_adapter(run, learner, record, best)
            return Outcome(record.path, iteration, finished=last, alarm=None if last else alarm)
        if stopping:
            return Outcome(record.path, iteration, finished=False, signal=stop.received)
    _write_adapter(run, learner, record, watcher.best if config.watch.keep_best else None)
    return Outcome(record.path, config.train.iterations, finished=True)


def _state(run: Run, learner: Learner) -> tuple[State, dict[str, Any]]:
    """Return all that a checkpoint holds: tensors by file, and counters."""
    state, counters = learner.state()
    tensors, calibration = run.calibrator.state()
    return state | tensors, {**counters, **calibration, "batch_size": run.batch_size.size}


def _write_adapter(run: Run, learner: Learner, record: RunDirectory, best: int | None) -> None:
    """Write the averaged weights as they are, or those of the checkpoint ``best``."""
    if best is not None:
        state, counters = record.checkpoint(best).load()
        learner.load(state, counters)
    with learner.averaged():
        record.write_adapter(run.backbone.save_adapter)


def iterate_with_room(run: Run, learner: Learner, iteration: int) -> Figures:
    """Do one iteration; where the memory is too small, anew with half the micro-batch.

    Raises:
        GuardcoreError: One image is too much, or the config forbids halving.
    """
    before = learner.snapshot() if run.batch_size.may_halve else ({}, {})
    return with_room(
        run.batch_size, lambda: iterate(run, learner, iteration), lambda: learner.load(*before)
    )


def iterate(run: Run, learner: Learner, iteration: int) -> Figures:
    """Do one iteration; return its metrics and its rows of ``steps.jsonl``."""
    settings, seed = run.config.rollout, run.config.seed
    chosen = draw_prompts(len(run.train_prompts), settings.groups, seed, iteration)
    prompts = [run.train_prompts[c] for c in chosen for _ in range(settings.group_size)]
    groups = torch.arange(settings.groups).repeat_interleave(settings.group_size)

    trajectories, rewards, pictures = sample(run, prompts, iteration)
    advantages = weigh(run, rewards, groups, len(trajectories[0].steps))

    updates, rows = [], []
    every = run.config.train.step_gradients_every
    by_step = every > 0 and (iteration - 1) % every == 0
    parts = shares(
        len(trajectories),
        run.config.train.updates_per_iteration,
        run.config.train.samples_per_update,
    )
    for number, part in enumerate(parts, 1):
        share = [trajectories[place] for place in part]
        updates.append(update(run, learner, share, advantages, first=number == 1, by_step=by_step))
        rows += updates[-1].figures.rows(iteration, number)
        if learner.exhausted:
            break

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


def _announce(received: signal.Signals) -> None:
    _log.warning(
        "%s: finishing this iteration, then saving; once more to stop at once", received.name
    )
