"""The training loop, top to bottom: sample, score, weigh, update, report.

Left out: a value network, because a group's mean is the baseline; a replay buffer, because the
ratio is only trusted near 1; a reward model inside the loss, because rewards are plugins.
"""

from __future__ import annotations

import logging
import signal
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from guardcore.binding import bind
from guardcore.bound import Binding, resolved
from guardcore.config import RunConfig
from guardcore.errors import CheckpointError, GuardcoreError, WriteError
from guardcore.iteration import iterate_with_room
from guardcore.joining import joined
from guardcore.learner import Learner
from guardcore.manifest import change_warnings
from guardcore.observers import Observers
from guardcore.plugins import PluginHost
from guardcore.preflight import check_processes, check_run
from guardcore.ranks import Ranks
from guardcore.recording import recorded_iterations
from guardcore.registry import Registry
from guardcore.reporting import report_evaluation, report_iteration, report_run
from guardcore.resuming import resumed, save, tidy, write_adapter
from guardcore.run import Run, coming_prompts, prepare_prompts, prepared
from guardcore.run_directory import RunDirectory
from guardcore.signals import StopRequest
from guardcore.vain import model_calls
from guardcore.watch import Alarm, Watcher
from guardcore.writing import refused

_log = logging.getLogger("guardcore")


@dataclass(frozen=True)
class Outcome:
    """How a call of ``train`` ended.

    Attributes:
        directory: The run directory.
        iteration: The last finished iteration.
        finished: Whether it was the run's last.
        signal: The signal that ended it early, or None.
        alarm: The alarm that ended it early, or None.
        main: Whether this is the one process of the run that reports.
    """

    directory: Path
    iteration: int
    finished: bool
    signal: signal.Signals | None = None
    alarm: Alarm | None = None
    main: bool = True


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

    In each of the processes that a launcher has started; they find one another.

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
        host = PluginHost.on_demand()
        binding = bind(config, host.registry)
        observers = observers or host.observers(binding.distributions())
    else:
        binding = bind(config, registry)
    with joined(config.distributed) as ranks, ExitStack() as stack:
        record = RunDirectory(Path(ranks.text(str(directory), "start")))
        check_processes(config, resolved(config, binding), ranks)
        with ranks.told_by_main("start"):
            if ranks.main:
                stack.enter_context(record.locked())
            record.check(resolved(config, binding), binding.may_change(), resume=resume)
        outcome = _unless_finished(config, binding, record, observers, resume, report, ranks)
        return replace(outcome, main=ranks.main)


def _unless_finished(
    config: RunConfig,
    binding: Binding,
    record: RunDirectory,
    observers: Observers | None,
    resume: bool,
    report: bool,
    ranks: Ranks,
) -> Outcome:
    """Run, and report at the end of it; of a finished run say so."""
    newest, report = record.newest() if resume else None, report and ranks.main
    if newest and newest.iteration >= config.train.iterations and record.adapter.is_dir():
        if report and not record.report.is_file():  # killed while writing it
            report_run(record)
        return Outcome(record.path, newest.iteration, finished=True)
    for warning in (*binding.warnings, *change_warnings(record.changes(binding))):
        _log.warning(warning)
    try:
        outcome = _recorded(config, binding, record, observers or Observers(), resume, ranks)
    except Exception as error:
        no_disk = isinstance(error, CheckpointError | WriteError)  # what said so is enough
        if report and record.error_log.is_file() and not no_disk:
            report_run(record)
        raise
    if report:
        report_run(record)
    return outcome


def _recorded(
    config: RunConfig,
    binding: Binding,
    record: RunDirectory,
    observers: Observers,
    resume: bool,
    ranks: Ranks,
) -> Outcome:
    """Build the components and run them; what fails from then on is in ``error.log``."""
    with prepared(config, binding, ranks) as run:
        check_run(run)
        try:
            with StopRequest(_announce) as stop, model_calls(ranks):
                if ranks.main:
                    record.open(resolved(config, binding), binding)
                with ranks.main_first("preparing the prompts"):
                    prepare_prompts(run.backbone, coming_prompts(run))
                return _run(run, record, observers, resume, stop)
        except Exception as error:
            record.write_error(error, ranks.number)
            if isinstance(error, OSError):
                raise WriteError(refused(error.filename or record.path, error)) from error
            raise


def _run(
    run: Run, record: RunDirectory, observers: Observers, resume: bool, stop: StopRequest
) -> Outcome:
    config, ranks = run.config, run.ranks
    watcher = Watcher(config.watch, run.reward_weights)
    learner = Learner(run.backbone.trainable(), config.train)
    start = resumed(run, learner, record, resume)
    if ranks.main:
        run.trackers.started(record.path, record.read_config(), start)
    ranks.wait("start")
    watcher.recall(record)
    tidy(run, record, watcher.kept)
    if start < 0 and run.eval_prompts is not None:
        metrics = report_evaluation(run, learner, record, watcher, 0)
        report_iteration(run, record, 0, metrics | run.clock.lap(), [])
        received = _received(stop, ranks)
        if received is not None:
            return Outcome(record.path, 0, finished=False, signal=received)
    recorded = recorded_iterations(config.train.iterations, config.record.iterations)
    for iteration in range(max(start, 0) + 1, config.train.iterations + 1):
        last = iteration == config.train.iterations
        tape = record.recordings if iteration in recorded else None
        waiting = run.calibrator.waiting
        metrics, rows = iterate_with_room(run, learner, iteration, tape)
        if waiting and ranks.main:
            record.write_calibrated(run.calibrator.found())
        if run.eval_prompts is not None and (last or iteration % config.evaluate.every == 0):
            metrics |= report_evaluation(run, learner, record, watcher, iteration)
        alarm = watcher.alarm() if metrics.get("alarm") else None
        if alarm is not None and ranks.main:
            observers.tell("guardcore_alarm_raised", run=run, iteration=iteration, alarm=alarm)
        ended = last or (alarm is not None and config.watch.stop)
        received = _received(stop, ranks)
        stopping = ended or learner.exhausted or received is not None
        report_iteration(run, record, iteration, metrics | run.clock.lap(), rows)
        if stopping or iteration % config.checkpoint.every == 0 or iteration == watcher.kept:
            with run.clock("checkpoint"):
                save(run, learner, record, iteration, watcher.kept)
        if learner.exhausted:
            raise GuardcoreError(
                f"{learner.skipped_in_a_row} updates in a row had a non-finite gradient; "
                f"checkpoint {iteration} is saved; lower train.learning_rate"
            )
        if ended:
            write_adapter(run, learner, record, watcher.kept)
            return Outcome(record.path, iteration, finished=last, alarm=None if last else alarm)
        if stopping:
            return Outcome(record.path, iteration, finished=False, signal=received)
    write_adapter(run, learner, record, watcher.kept)
    return Outcome(record.path, config.train.iterations, finished=True)


def _received(stop: StopRequest, ranks: Ranks) -> signal.Signals | None:
    """Return the signal that any process has received."""
    number = int(ranks.largest(stop.received or 0, "end of the iteration"))
    return signal.Signals(number) if number else None


def _announce(received: signal.Signals) -> None:
    hurry = "; once more to stop at once" if received == signal.SIGINT else ""
    _log.warning("%s: finishing this iteration, then saving%s", received.name, hurry)
