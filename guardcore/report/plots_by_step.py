"""What the ratio, the clip and the gradient did at each denoising step, and how to read it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from guardcore.report import figures, figures_by_step
from guardcore.report.canvas import Plot
from guardcore.report.curves import training_curve
from guardcore.report.densities import reach, step_ratios
from guardcore.report.figures_of_ratios import ratio_histograms
from guardcore.report.groups import COLOURS, Group
from guardcore.report.naming import of, suffix
from guardcore.report.shares import ShareCurve, share_curves
from guardcore.report.steps import StepCurve, recorded, step_curves
from guardcore.report.words import clip_bounds


def step_plots(groups: Sequence[Group]) -> Iterator[Plot]:
    """Yield what the ratio and the clip did at each denoising step."""
    by_group = [(group, step_curves(group, thirds=len(groups) == 1)) for group in groups]
    curves = [curve for _, some in by_group for curve in some]
    if not curves:
        return
    # one each: normalised ratios have another scale than plain ones
    yield from _histogram_plots(groups)
    for group, some in by_group:
        if some:
            yield _ratio_plot(groups, group, some)
    yield Plot(
        "clip-by-step",
        "Ratios outside the clip's bounds",
        "Up: above 1 + high; down: below 1 − low, whatever the advantage's sign. Where both sides "
        "are near 0 the clip does nothing; where only the lower one is not, over-confident updates "
        "on good samples go unchecked.",
        figures_by_step.clip_by_step(curves),
    )
    yield from _sign_plot(groups)
    yield Plot(
        "ratio-std-by-step",
        "Spread of the ratio",
        "Log axis. One clip range serves all steps only where this is flat; plain grows towards "
        "the last steps, where std is small, and ratio-norm takes most of that away.",
        figures_by_step.spread_by_step(curves),
    )
    yield Plot(
        "k-by-step",
        "How far the policy moved: K",
        "Log axis. K = ‖d‖²/(2·std²), summed over latent dimensions, d the change of the "
        "transition's mean since the samples were drawn. A plain ratio's shift to the left is "
        "sqrt(K/2) times its spread: hardly seen while K is below 0.1, not to be missed from 1 on.",
        figures_by_step.k_by_step(curves),
    )
    yield from _bias_plot(curves)


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
                f"clip-by-iteration{suffix(groups, group)}",
                f"The clip over the iterations{of(groups, group)}",
                "Over all steps. Without gradient are the terms that the clip stopped: outside a "
                "bound, and on the side on which their advantage would drive them further.",
                figures.over_iterations(curves, "fraction of terms", fractions=True),
            )


def _ratio_plot(groups: Sequence[Group], group: Group, curves: Sequence[StepCurve]) -> Plot:
    return Plot(
        f"ratio-mean-by-step{suffix(groups, group)}",
        f"Mean of the ratio{of(groups, group)}",
        "Line: mean of ratio − 1; band: ± one standard deviation of single ratios; dashed: the "
        "clip's bounds. A plain ratio lies below 0 (by K over the number of latent dimensions, "
        "most at the last steps); mean-revise, ratio-norm and so guard should lie on 0.",
        figures_by_step.ratio_by_step(curves, clip_bounds({"ratio": group.runs[0].words})),
    )


def _histogram_plots(groups: Sequence[Group]) -> Iterator[Plot]:
    for group in groups:
        steps = step_ratios(group)
        if steps and reach(steps) > 0:
            yield Plot(
                f"ratio-histogram{suffix(groups, group)}",
                f"Ratios at each step{of(groups, group)}",
                "A row a denoising step, from noise to image. Left on one scale, where rows of "
                "different widths cannot share one clip range; right each in units of its own "
                "spread, where a triangle (the mean) left of the line is the shift that keeps "
                "ratios from the upper bound. Line: ratio 1; dashed: the clip's bounds, where they "
                "are in sight.",
                ratio_histograms(steps, clip_bounds({"ratio": group.runs[0].words}), group.colour),
            )


def _sign_plot(groups: Sequence[Group]) -> Iterator[Plot]:
    """Yield the clip by the advantage's sign, over all iterations."""
    curves = [curve for group in groups for curve in step_curves(group, thirds=False)]
    curves = recorded(curves, "high_positive")
    if curves:
        yield Plot(
            "clip-by-sign",
            "What the clip holds back",
            "Good samples (advantage > 0) are pushed up and stopped above 1 + high; bad ones are "
            "pushed down and stopped below 1 − low: solid. What lies outside on the other side "
            "(dotted) keeps its gradient. A solid line at 0 above and not below: the clip "
            "restrains bad samples only.",
            figures_by_step.clip_by_sign(curves),
        )


def _bias_plot(curves: Sequence[StepCurve]) -> Iterator[Plot]:
    curves = recorded(curves, "bias_predicted")
    if curves:
        yield Plot(
            "bias-by-step",
            "The log-ratio's bias, measured and predicted",
            "Log axis. Dots: how far the mean of log r, before any transform, lies below 0; "
            "dashed: the mean of d²/(2·std²), which GRPO-Guard's Eq. 6 predicts. Dots on the line: "
            "the shift is that bias and nothing else. They should be, for samples that no update "
            "has used yet; used ones add a difference of their own. No dot: the mean is above 0.",
            figures_by_step.bias_by_step(curves),
        )


def share_plot(groups: Sequence[Group]) -> Plot | None:
    """Return each step's share of the gradient; None where no iteration took it apart."""
    curves = [curve for group in groups for curve in share_curves(group)]
    if not curves:
        return None
    both = len({curve.first for curve in curves}) == 2
    lines = (
        "Dashed: first updates of an iteration; solid: later ones, after the clip. " if both else ""
    )
    return Plot(
        "gradient-by-step",
        "Which steps make the gradient",
        "Log axis. The norm of the gradient of one step's terms over the sum of all steps' norms; "
        f"dotted: all equal. {lines}The largest over the smallest is {_factors(curves)}; "
        "GRPO-Guard's paper reports about 20 for plain and 2.5 for guard.",
        figures_by_step.gradient_by_step(curves),
    )


def _factors(curves: Sequence[ShareCurve]) -> str:
    """Return every group's factor in words, first and later updates apart."""
    found: dict[str, list[str]] = {}
    for curve in curves:
        factor = f"{curve.factor:.2g}" if math.isfinite(curve.factor) else "∞"
        updates = "first updates" if curve.first else "later ones"
        found.setdefault(curve.label, []).append(f"{factor} in {updates}")
    sentences = [(label, ", ".join(factors)) for label, factors in found.items()]
    return "; ".join(text if len(found) == 1 else f"{label} {text}" for label, text in sentences)
