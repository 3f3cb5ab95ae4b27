"""Which figures a report has, and how each is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guardcore.report import figures
from guardcore.report.canvas import Plot
from guardcore.report.curves import (
    Curve,
    evaluation_curves,
    held_out_curves,
    training_curves,
)
from guardcore.report.groups import Group
from guardcore.report.naming import slug


def score_plots(groups: Sequence[Group]) -> Iterator[Plot]:
    """Yield a figure for every held-out score and every training reward."""
    for label in _labels(groups, "eval"):
        curves = held_out_curves(groups, label)
        if curves:
            yield Plot(
                f"held-out-{slug(label)}",
                f"Held-out score: {label}",
                f"The same prompts and the same noise every time; iteration 0 is the base model. "
                f"Should rise, and stay up. {_held_out_spread(curves)}",
                figures.over_iterations(curves, label, markers=True),
            )
    for label in _labels(groups, "reward"):
        curves = training_curves(groups, f"reward/{label}")
        if curves:
            yield Plot(
                f"reward-{slug(label)}",
                f"Training reward: {label}",
                "Mean over the images of the prompts that an iteration draws, others each time, so "
                f"it jumps about. {_training_spread(curves)}",
                figures.over_iterations(curves, label),
            )


def drift_plots(groups: Sequence[Group]) -> Iterator[Plot]:
    """Yield how far the model has gone from the base, and how different its images still are."""
    curves = evaluation_curves(groups, "kl/base")
    if curves:
        yield Plot(
            "kl-to-base",
            "Divergence from the base model",
            "KL in nats between this model's denoising and the base model's, summed over latent "
            "dimensions and trained steps. The price of a score: of two runs with one score, the "
            f"lower curve has changed the model less. {_held_out_spread(curves, images=False)}",
            figures.over_iterations(curves, "KL to the base, nats", markers=True),
        )
    curves = training_curves(groups, "diversity")
    if curves:
        yield Plot(
            "diversity",
            "Diversity within a group",
            "Mean distance between two images of one prompt (RMS over pixels in [0, 1], at 16 × 16 "
            "pixels). A fall towards 0 is collapse: one prompt, one image, and no advantage to "
            f"learn from. {_training_spread(curves)}",
            figures.over_iterations(curves, "RMS distance"),
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


def _held_out_spread(curves: Sequence[Curve], *, images: bool = True) -> str:
    if any(curve.traces for curve in curves):
        return "Thin: single seeds; band: ± one standard deviation over them."
    if not images:
        return ""
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
