"""What an iteration and a run leave in the run directory, and tell the trackers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from guardcore.divergence import kl_to_base
from guardcore.evaluation import Evaluation, evaluate
from guardcore.grid import save_grid
from guardcore.learner import Learner
from guardcore.run import Run
from guardcore.run_directory import RunDirectory
from guardcore.watch import Watcher
from guardcore.writing import written

_log = logging.getLogger("guardcore")


def report_run(record: RunDirectory) -> None:
    """Write ``report.html``; where that fails, a line in the log says so, and the run stands."""
    from guardcore.report import write_report

    try:
        write_report([record.path])
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        _log.warning("%s is not written; the run is as it was: %s", record.report, reason)


def report_iteration(
    run: Run,
    record: RunDirectory,
    iteration: int,
    metrics: Mapping[str, float],
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Append the figures of an iteration, and pass them on: the main process's part."""
    if not run.ranks.main:
        return
    record.append("steps", rows)
    record.append("metrics", [{"iteration": iteration, **metrics}])
    run.trackers.metrics(iteration, metrics)
    run.trackers.progress("train", iteration, run.config.train.iterations)


def report_evaluation(
    run: Run, learner: Learner, record: RunDirectory, watcher: Watcher, iteration: int
) -> dict[str, float]:
    """Evaluate under the averaged weights; write scores and grid; return the metrics."""
    with run.clock("evaluate"), learner.averaged():
        evaluation = evaluate(run)
        found = evaluation.record()
        if run.ranks.main:
            record.write_samples(iteration, found)
            _write_grid(run, record, iteration, evaluation)
        metrics = evaluation.metrics() | watcher.look(iteration, found["scores"])
        if run.config.evaluate.kl_images:
            metrics["kl/base"] = kl_to_base(run, run.config.evaluate.kl_images)
    return metrics


def _write_grid(run: Run, record: RunDirectory, iteration: int, evaluation: Evaluation) -> None:
    captions = [prompt.text for prompt in evaluation.prompts[: len(evaluation.images)]]
    if captions:
        path = record.samples / f"iteration-{iteration:06d}.png"
        with written(path):
            save_grid(path, evaluation.images, captions)
        run.trackers.images(iteration, "held-out", evaluation.images, captions)
