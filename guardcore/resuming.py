"""What a run saves of itself, and goes on from."""

from __future__ import annotations

import logging

from guardcore import checkpoint
from guardcore.errors import CheckpointError
from guardcore.learner import Learner
from guardcore.run import Run
from guardcore.run_directory import RunDirectory
from guardcore.sharding import made_whole

_log = logging.getLogger("guardcore")


def resumed(run: Run, learner: Learner, record: RunDirectory, resume: bool) -> int:
    """Load the newest whole checkpoint, with ``resume``; return its iteration, −1 without one.

    In every process the same; what was reported after it is removed.
    """
    with run.ranks.main_first("restoring"):  # it sets aside what is damaged
        saved = checkpoint.restore(learner, record.checkpoints) if resume else checkpoint.Restored()
    run.ranks.check_same("newest whole checkpoint", [saved.iteration])
    if run.ranks.world > 1:
        run.ranks.check_same("weights to begin with", learner.sums())
    run.batch_size.size = saved.counters.get("batch_size", run.batch_size.size)
    run.calibrator.load(saved.state, saved.counters)
    if run.ranks.main:
        record.write_calibrated(run.calibrator.found())
        record.cut_back(saved.iteration)
    return saved.iteration


def tidy(run: Run, record: RunDirectory, best: int | None) -> None:
    """Remove the checkpoints that a killed run had no time to: the main process's part."""
    if run.ranks.main:
        checkpoint.prune(record.checkpoints, run.config.checkpoint.keep, best)


def save(
    run: Run, learner: Learner, record: RunDirectory, iteration: int, best: int | None
) -> None:
    """Write a checkpoint of everything that the next iteration depends on; all have to call it.

    Raises:
        CheckpointError: It could not be written; those before it are untouched.
    """
    state, counters = learner.state()
    tensors, calibration = run.calibrator.state()
    if run.ranks.main:
        record.sync()
        counters = {**counters, **calibration, "batch_size": run.batch_size.size}
        keep = run.config.checkpoint.keep
        checkpoint.save(record.checkpoints, iteration, state | tensors, counters, keep, best)


def write_adapter(run: Run, learner: Learner, record: RunDirectory, best: int | None) -> None:
    """Write the averaged weights as they are, or those of the checkpoint ``best``.

    All processes have to call it, because what is shared out is brought together.
    """
    if best is not None:
        try:
            state, counters = record.checkpoint(best).load()
            learner.load(state, counters)
        except CheckpointError as error:
            _log.warning("%s; adapter/ holds the last weights, not those of the best", error)
    with learner.averaged(), made_whole(run.backbone, run.ranks):
        if run.ranks.main:
            record.write_adapter(run.backbone.save_adapter)
