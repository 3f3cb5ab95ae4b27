"""Which figures a report has, and how each is read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from guardcore.report import figures
from guardcore.report.canvas import Plot
from guardcore.report.curves import Curve, held_out_curves, training_curve, training_curves
from guardcore.report.groups import COLOURS, Group
from guardcore.report.steps import StepCurve, step_curves
from guardcore.report.words import clip_bounds


def score_plots(groups: Sequence[Group]) -> Iterator[Plot]:
    """Yield a figure for every held-out score and every training reward."""
    for label in _labels(groups, "eval"):
        curves = held_out_curves(groups, label)
        if curves:
            yield Plot(
                f"held-out-{_slug(label)}",
                f"Held-out score: {label}",
                f"The same prompts and the same noise every time; iteration 0 is the base model. "
                f"Should rise, and stay up. {_held_out_spread(curves)}",
                figures.over_iterations(curves, label, markers=True),
            )
    for label in _labels(groups, "reward"):
        curves = training_curves(groups, f"reward/{label}")
        if curves:
            yield Plot(
                f"reward-{_slug(label)}",
                f"Training reward: {label}",
                "Mean over the images that an iteration trains on, other prompts each time, so it "
                f"jumps about. {_training_spread(curves)}",
                figures.over_iterations(curves, label),
            )


def step_plots(groups: Sequence[Group]) -> Iterator[Plot]:
    """Yield what the ratio and the clip did at each denoising step."""
    by_group = [(group, step_curves(group, thirds=len(groups) == 1)) for group in groups]
    curves = [curve for _, some in by_group for curve in some]
    if not curves:
        return
    for group, some in by_group:  # one each: normalised ratios have another scale than plain ones
        if some:
            yield _ratio_plot(groups, group, some)
    yield Plot(
        "clip-by-step",
        "Ratios outside the clip's bounds",
        "Up: above 1 + high; down: below 1 − low, whatever the advantage's sign. Where both sides "
        "are near 0 the clip does nothing; where only the lower one is not, over-confident updates "
        "on good samples go unchecked.",
        figures.clip_by_step(curves),
    )
    yield Plot(
        "ratio-std-by-step",
        "Spread of the ratio",
        "Log axis. One clip range serves all steps only where this is flat; plain grows towards "
        "the last steps, where std is small, and ratio-norm takes most of that away.",
        figures.spread_by_step(curves),
    )
    yield Plot(
        "k-by-step",
        "How far the policy moved: K",
        "Log axis. K = ‖d‖²/(2·std²), summed over latent dimensions, d the change of the "
        "transition's mean since the samples were drawn. A plain ratio's shift to the left is "
        "sqrt(K/2) times its spread: hardly seen while K is below 0.1, not to be missed from 1 on.",
        figures.k_by_step(curves),
    )


def clip_plots(groups: Sequence[Group]) -> Iterator[Plot]:
    """Yield what the clip did over the iterations, a figure a group."""
    names = {"clip/high": "above 1 + high", "clip/low": "below 1 − low"}
    names["clip/blocked"] = "without gradient"
    colours = dict(zip(names, (COLOURS[1], COLOURS[0], COLOURS[6]), strict=True))
    for group in groups:
        found = {key: training_curve(group, key) for key in names}
        curves = [
            replace(curve, label=names[key], colour=colours[key], traces=())
            for key, curve in found.items()
            if curve is not None
        ]
        if curves and group.runs[0].config["train"]["updates_per_iteration"] > 1:
            yield Plot(
                f"clip-by-iteration{_suffix(groups, group)}",
                f"The clip over the iterations{_of(groups, group)}",
                "Over all steps. Without gradient are the terms that the clip stopped: outside a "
                "bound, and on the side on which their advantage would drive them further.",
                figures.over_iterations(curves, "fraction of terms", percent=True),
            )


def gradient_plot(groups: Sequence[Group]) -> Plot | None:
    """Return the gradient's norm over the iterations; None where there was no gradient."""
    curves = training_curves(groups, "grad_norm")
    if not any(y > 0 for curve in curves for y in curve.y):
        return None
    limits = {float(run.config["train"]["max_grad_norm"]) for g in groups for run in g.runs}
    return Plot(
        "grad-norm",
        "Gradient norm",
        "Log axis; before it is cut to max_grad_norm (dashed). Should stay of one size.",
        figures.over_iterations(
            curves, "gradient norm", log=True, limit=limits.pop() if len(limits) == 1 else None
        ),
    )


def time_plot(groups: Sequence[Group]) -> Plot | None:
    """Return where the time went; None where none was recorded."""
    rows = {group.label: _phases(group) for group in groups}
    colours = [group.colour for group in groups if rows[group.label]]
    rows = {label: phases for label, phases in rows.items() if phases}
    if not rows:
        return None
    joint = any(len(group.runs) > 1 for group in groups)
    return Plot(
        "seconds-by-phase",
        "Where the time went",
        f"Whole run{', mean over seeds' if joint else ''}; rollout is the model while sampling, "
        "forward and backward the model while updating.",
        figures.seconds_by_phase(rows, colours),
    )


def _ratio_plot(groups: Sequence[Group], group: Group, curves: Sequence[StepCurve]) -> Plot:
    return Plot(
        f"ratio-mean-by-step{_suffix(groups, group)}",
        f"Mean of the ratio{_of(groups, group)}",
        "Line: mean of ratio − 1; band: ± one standard deviation of single ratios; dashed: the "
        "clip's bounds. A plain ratio lies below 0 (by K over the number of latent dimensions, "
        "most at the last steps); mean-revise, ratio-norm and so guard should lie on 0.",
        figures.ratio_by_step(curves, clip_bounds(group.runs[0].config)),
    )


def _held_out_spread(curves: Sequence[Curve]) -> str:
    if any(curve.traces for curve in curves):
        return "Thin: single seeds; band: ± one standard deviation over them."
    return (
        "Band: ± one standard error over the images, most of it from prompt to prompt; the table "
        "above compares image by image and is sharper."
    )


def _training_spread(curves: Sequence[Curve]) -> str:
    if any(len(curve.traces) > 1 for curve in curves):
        return "Thin: single seeds; band: ± one standard deviation over them."
    if any(curve.spread for curve in curves):
        return "Bold: moving average over a tenth of the run; band: ± one standard deviation in it."
    return "Compare trends, not single points."


def _phases(group: Group) -> dict[str, float]:
    phases = dict.fromkeys(label for run in group.runs for label in run.labels("seconds"))
    totals = {p: sum(sum(r.series(f"seconds/{p}").values()) for r in group.runs) for p in phases}
    parts = {p: t for p, t in totals.items() if p != "total" and "/" not in p}  # reward/…: beside
    return {p: t / len(group.runs) for p, t in parts.items() if t > 0}


def _labels(groups: Sequence[Group], prefix: str) -> list[str]:
    found = [label for group in groups for run in group.runs for label in run.labels(prefix)]
    return list(dict.fromkeys(found))


def _of(groups: Sequence[Group], group: Group) -> str:
    return f": {group.label}" if len(groups) > 1 else ""


def _suffix(groups: Sequence[Group], group: Group) -> str:
    return f"-{groups.index(group) + 1}-{_slug(group.label)}" if len(groups) > 1 else ""


def _slug(label: str) -> str:
    """Return a label as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:60] or "x"
