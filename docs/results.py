"""Prints the tables of ``results.md``: ``python docs/results.py STUDY [SUM_RUN]``.

What the ratio did at each denoising step, all seeds of a strategy together, updates from the
second of an iteration on, beside what theory makes of the measured K. ``SUM_RUN`` is a run with
``reduction: sum``.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from guardcore import create
from guardcore.report.groups import Group, group_runs
from guardcore.report.measures import factor
from guardcore.report.read import RecordedRun, Row, read_run
from guardcore.report.shares import step_shares
from guardcore.report.steps import later_updates, mean, step_figures

SHOWN = ("plain", "ratio-norm", "guard", "flat-norm")
UNCENTRED = ("plain", "temp-reweight", "dppo")


def built(kind: str, spec: Mapping[str, Any]) -> Any:
    """Build a component of a run."""
    return create(kind, spec["use"], **{key: v for key, v in spec.items() if key != "use"})


def transitions(config: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Return std and velocity_gain of each step, by the run's own schedule and sampler."""
    rollout, sampler = config["rollout"], built("sampler", config["sampler"])
    size = rollout["height"], rollout["width"]
    schedule = built("backbone", config["backbone"]).schedule(rollout["num_inference_steps"], *size)
    point = torch.zeros(1, 1)
    made = [sampler.transition(point, point, schedule.step(i, 1)) for i in range(len(schedule))]
    return [(float(step.std), float(step.velocity_gain)) for step in made]


def dimensions(rows: Sequence[Row]) -> float:
    """Return D: K is a sum over the latent dimensions, the predicted bias a mean."""
    row = max(rows, key=lambda r: r["k"])
    return round(-float(row["k"]) / float(row["log_ratio_raw_predicted"]))


def scale(strategy: str, std: float, gain: float) -> float:
    """Return what the chain multiplies the log-ratio by."""
    return {"ratio-norm": std, "guard": std, "flat-norm": std / gain}.get(strategy, 1.0)


def by_step(group: Group) -> str:
    """Return one strategy's table."""
    rows = later_updates([row for run in group.runs for row in run.steps])
    moves, latents = transitions(group.runs[0].config), dimensions(rows)
    lines = [
        "| step | sigma | β·dt | K | mean − 1 | predicted | updates below 1 | std | predicted "
        "| above | below |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for point in step_figures(rows):
        std, gain = moves[point.step]
        own = [row for row in rows if row["step"] == point.step]
        below = mean([float(row["ratio_mean"] < 1) for row in own])
        shift = -point.k / latents if group.label in UNCENTRED else 0.0
        spread = scale(group.label, std, gain) * math.sqrt(2 * point.k) / latents
        moved = [_small(v) for v in (point.excess, shift, point.spread, spread)]
        clips = f"{point.clip_high:.1%} | {point.clip_low:.1%}"
        lines.append(
            f"| {point.step} | {point.sigma:.2f} | {gain:.3f} | {point.k:.2g} | {moved[0]} "
            f"| {moved[1]} | {below:.0%} | {moved[2]} | {moved[3]} | {clips} |"
        )
    return "\n".join(lines)


def _small(value: float) -> str:
    """Write −0.0014 as −1.4e-3."""
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}".replace("-", "−", int(value < 0)) if value else "0"


def factors(groups: Sequence[Group]) -> str:
    """Return the largest over the smallest step's spread and gradient share of every strategy."""
    lines = [
        "| strategy | largest mean − 1 of a step | spread over the steps | predicted | gradient, "
        "first updates | gradient, later updates |",
        "|---|---|---|---|---|---|",
    ]
    for group in groups:
        rows = later_updates([row for run in group.runs for row in run.steps])
        moves, points = transitions(group.runs[0].config), step_figures(rows)
        expected = factor([scale(group.label, *moves[p.step]) * math.sqrt(p.k) for p in points])
        first, later = (
            factor([s.share for s in step_shares(parts)])
            for parts in (
                [[r for r in run.steps if r["update"] == 1] for run in group.runs],
                [later_updates(run.steps) for run in group.runs],
            )
        )
        largest = max(points, key=lambda point: abs(point.excess)).excess
        spread = factor([point.spread for point in points])
        lines.append(
            f"| {group.label} | {_small(largest)} | ×{spread:.3g} | ×{expected:.3g} | ×{first:.3g} "
            f"| ×{later:.3g} |"
        )
    return "\n".join(lines)


def sum_convention(run: RecordedRun) -> str:
    """Return the mean ratio at each step with its standard error, for K below 0.5 and above."""
    rows = later_updates(run.steps)
    rollout, train = run.config["rollout"], run.config["train"]
    terms = rollout["groups"] * rollout["group_size"] // train["updates_per_iteration"]
    lines = ["| step | sigma | updates | K | mean − 1 | s.e. |", "|---|---|---|---|---|---|"]
    for step in sorted({int(row["step"]) for row in rows}):
        for name, some in (
            ("K < 0.5", [r for r in rows if r["step"] == step and r["k"] < 0.5]),
            ("K ≥ 0.5", [r for r in rows if r["step"] == step and r["k"] >= 0.5]),
        ):
            if some:
                excess = mean([row["ratio_mean"] - 1 for row in some])
                variance = mean([row["ratio_std"] ** 2 for row in some])
                error = math.sqrt(variance / (terms * len(some)))
                k = mean([row["k"] for row in some])
                lines.append(
                    f"| {step} | {some[0]['sigma']:.2f} | {len(some)} with {name} | {k:.2g} "
                    f"| {excess:+.3f} | {error:.3f} |"
                )
    return "\n".join(lines)


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("sum_run", type=Path, nargs="?")
    given = parser.parse_args()
    runs = [read_run(path) for path in sorted((given.study / "runs").iterdir()) if path.is_dir()]
    groups = group_runs([run for run in runs if run.finished])
    parts = [factors(groups)]
    parts += [f"### {g.label}\n\n{by_step(g)}" for g in groups if g.label in SHOWN]
    if given.sum_run:
        parts.append(f"### The sum convention\n\n{sum_convention(read_run(given.sum_run))}")
    sys.stdout.write("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
