"""What a run comes to in a few numbers; what was not recorded is left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from guardcore.report.facts import seconds
from guardcore.report.read import RecordedRun, Row
from guardcore.report.shares import step_shares
from guardcore.report.steps import later_updates, mean, step_figures

Measures = Mapping[str, float]
"""By name; ``<name>_before`` is the base model's, or the first iteration's."""


def measures(run: RecordedRun) -> dict[str, float]:
    """Return a run's numbers.

    ``proxy``, ``gold``, ``eval/<label>``, ``kl``, ``diversity``: at the end; ``ratio`` (its mean
    minus 1), ``clip_low``, ``clip_high``, ``blocked``: of updates from the second on, over the
    run; ``spread``, ``share_first``, ``share_later``: the largest over the smallest denoising
    step's; ``alarms``: how many; ``seconds``.
    """
    found: dict[str, float] = {}
    for key in ("proxy", "gold", *(f"eval/{label}" for label in run.labels("eval"))):
        found |= _ends(key, run.series(key))
    found |= _ends("diversity", run.series("diversity"))
    found["kl"] = _last(run.series("kl/base"))
    alarm = run.series("alarm")
    found["alarms"] = sum(alarm.values()) if alarm else math.nan
    found["seconds"] = seconds(run)
    found |= _of_steps(run.steps)
    return {key: value for key, value in found.items() if math.isfinite(value)}


def _ends(key: str, series: Mapping[int, float]) -> dict[str, float]:
    """Return the first and the last value; the last is none where there is only one."""
    if not series:
        return {}
    ends = {f"{key}_before": series[min(series)]}
    return ends | {key: series[max(series)]} if len(series) > 1 else ends


def _last(series: Mapping[int, float]) -> float:
    return series[max(series)] if series else math.nan


def _of_steps(rows: Sequence[Row]) -> dict[str, float]:
    later = later_updates(rows)
    first = [row for row in rows if row["update"] == 1]
    points = step_figures(later)
    return {
        "ratio": mean([row["ratio_mean"] - 1 for row in later]),
        "clip_low": mean([row["clip_low"] for row in later]),
        "clip_high": mean([row["clip_high"] for row in later]),
        "blocked": mean([row["blocked"] for row in later]),
        "spread": factor([point.spread for point in points]),
        "share_first": factor([point.share for point in step_shares([first])]),
        "share_later": factor([point.share for point in step_shares([later])]),
    }


def factor(values: Sequence[float]) -> float:
    """Return the largest over the smallest; NaN where that says nothing."""
    return max(values) / min(values) if len(values) > 1 and min(values) > 0 else math.nan
