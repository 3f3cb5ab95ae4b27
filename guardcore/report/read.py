"""From a run directory to what a report needs of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from guardcore.errors import GuardcoreError
from guardcore.run_directory import RunDirectory

Row = Mapping[str, Any]


@dataclass(frozen=True)
class RecordedRun:
    """One run as its directory holds it; numbers that the files hold as null are NaN.

    Attributes:
        directory: Where it is.
        config: The resolved config.
        manifest: Versions, qualified names, seed, commit.
        metrics: One row an iteration; iteration 0 is the base model.
        steps: One row per iteration, update and denoising step.
        evaluations: By iteration, the prompts and scores of the held-out samples.
        error: The last line of ``error.log``; None where the run did not fail.
    """

    directory: RunDirectory
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    metrics: Sequence[Row]
    steps: Sequence[Row]
    evaluations: Mapping[int, Mapping[str, Any]]
    error: str | None

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.directory.path.resolve().name

    @property
    def iteration(self) -> int:
        """The last finished iteration."""
        return int(self.metrics[-1]["iteration"]) if self.metrics else 0

    @property
    def finished(self) -> bool:
        """Whether that was the run's last."""
        return self.iteration >= int(self.config["train"]["iterations"])

    @property
    def words(self) -> list[Mapping[str, Any]]:
        """The words on the ratio, with the numbers that the run has found itself."""
        words = [dict(spec) for spec in self.config.get("ratio") or ()]
        for path, options in (self.manifest.get("calibrated") or {}).items():
            words[int(path.rpartition(".")[2])] |= {**options, "range": "calibrated"}
        return list(words)

    @property
    def warned_off(self) -> bool:
        """Whether the watch has stopped the run before its last iteration."""
        stops = bool((self.config.get("watch") or {}).get("stop"))
        return stops and not self.finished and self.series("alarm").get(self.iteration) == 1

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return self.finished or self.warned_off

    def series(self, key: str) -> dict[int, float]:
        """Return a metric by iteration, where it is a number."""
        rows = {row["iteration"]: row[key] for row in self.metrics if key in row}
        return {iteration: value for iteration, value in rows.items() if math.isfinite(value)}

    def labels(self, prefix: str) -> list[str]:
        """Return what follows ``prefix/`` in the metrics, in order of appearance."""
        keys = [key for row in self.metrics for key in row if key.startswith(f"{prefix}/")]
        return [key.removeprefix(f"{prefix}/") for key in dict.fromkeys(keys)]


def read_run(path: Path) -> RecordedRun:
    """Read a run directory, however far the run has come.

    Raises:
        GuardcoreError: It is not a run, or a file of it is damaged.
    """
    record = RunDirectory(path)
    if not (record.config.is_file() and record.manifest.is_file()):
        raise GuardcoreError(
            f"{path} is not a run: it has no {record.config.name} with {record.manifest.name}; "
            f"give a directory that `guardcore train --out` has written"
        )
    config = _whole(record.config, yaml.safe_load, ("train", "rollout", "sampler", "backbone"))
    metrics = _rows(record, "metrics")
    evaluated = [int(r["iteration"]) for r in metrics if any(k.startswith("eval/") for k in r)]
    found = {number: _samples(record, number) for number in evaluated}
    return RecordedRun(
        directory=record,
        config=config,
        manifest=_whole(record.manifest, json.loads),
        metrics=metrics,
        steps=_rows(record, "steps"),
        evaluations={number: samples for number, samples in found.items() if samples is not None},
        error=_last_line(record.error_log),
    )


def _whole(path: Path, parse: Any, needed: Sequence[str] = ()) -> Mapping[str, Any]:
    try:
        tree = parse(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, yaml.YAMLError) as error:
        raise _damaged(path, error) from error
    if not isinstance(tree, Mapping) or not set(needed) <= set(tree):
        raise _damaged(path, f"it lacks {', '.join(needed) or 'its keys'}")
    return tree


def _rows(record: RunDirectory, name: str) -> list[Row]:
    path = record.path / f"{name}.jsonl"
    try:
        rows: list[dict[str, Any]] = record.rows(name)
        return [
            {key: math.nan if value is None else value for key, value in row.items()}
            for row in rows
            if row["iteration"] is not None
        ]
    except (ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error


def _samples(record: RunDirectory, iteration: int) -> Mapping[str, Any] | None:
    path = record.samples / f"iteration-{iteration:06d}.json"
    try:
        found = record.read_samples(iteration)
    except (ValueError, OSError) as error:
        raise _damaged(path, error) from error
    if found is not None and not {"prompts", "scores"} <= set(found):
        raise _damaged(path, "it lacks prompts or scores")
    return found


def _damaged(path: Path, reason: object) -> GuardcoreError:
    return GuardcoreError(f"{path} is damaged ({reason}); put back a copy, or remove the run")


def _last_line(path: Path) -> str | None:
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "")
