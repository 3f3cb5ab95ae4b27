"""Draws the site's figures: ``python docs/figures/draw.py``, about a minute.

The numbers are those of ``measure.py`` beside this file; nothing is computed here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import measure
import numpy as np
import torch
from matplotlib import pyplot as plt

from guardcore import create

HERE = Path(__file__).parent
ROWS = 128
STRATEGIES = (
    "plain",
    "temp-reweight",
    "mean-revised",
    "ratio-norm",
    "flat-norm",
    "guard",
    "guard-dance",
    "dppo",
)
GATES = ("guard", "clip-higher", "soft-clip", "dual-clip", "cispo")
INK, MUTED, LEFT, RIGHT, BAND = "#22252b", "#6b7280", "#2563eb", "#d9480f", "#e8f0e4"
STYLE: Any = {
    "figure.facecolor": "white",
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "font.size": 9,
    "svg.hashsalt": "guardcore",
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def save(figure: Any, name: str) -> None:
    """Write one figure beside this file."""
    figure.savefig(HERE / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


def draw_strategy(name: str) -> None:
    """Ratio and gradient at every trained step."""
    steps = measure.step_figures(name, ROWS)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8.2, 3), width_ratios=(1.7, 1), layout="constrained"
    )
    draw_ratio(left, steps)
    draw_gradient(right, [step.gradient for step in steps])
    save(figure, f"strategy-{name}")


def draw_ratio(axes: Any, steps: list[measure.StepFigures]) -> None:
    """Middle half and 1 to 99 % of ``r − 1`` a step, in units of the clip range."""
    bounded = 0 < steps[0].high < np.inf
    unit = steps[0].high if bounded else 1e-4
    if bounded:
        axes.axhspan(-1, 1, color=BAND, lw=0)
    axes.axhline(0, color=MUTED, lw=0.8)
    for place, step in enumerate(steps):
        low, first, middle, third, high = np.percentile(step.excess / unit, (1, 25, 50, 75, 99))
        colour = "#d3a183" if step.high == 0 else "#9aa3b2"
        axes.plot((place, place), (low, high), color=colour, lw=1.4)
        axes.plot((place, place), (first, third), color=colour, lw=7, solid_capstyle="butt")
        axes.plot((place - 0.2, place + 0.2), (middle, middle), color=INK, lw=1.6)
    extent = max(1.3, *(float((s.excess / unit).abs().max()) for s in steps))
    axes.set_ylim(-1.35 * extent, 1.35 * extent)
    axes.set_xticks(range(len(steps)), [f"{step.sigma:.2f}" for step in steps])
    axes.set_xlabel("sigma of the step, noise on the left")
    axes.set_ylabel("(r − 1) / clip range" if bounded else "(r − 1) / 1e-4")
    axes.set_title("ratio after the same Δv at every step")
    for place, step in enumerate(steps):
        write_shares(axes, place, step, 1.3 * extent)


def write_shares(axes: Any, place: int, step: measure.StepFigures, height: float) -> None:
    """Say how many rows are above and below the bounds, or that the step is masked."""
    if step.high == 0:
        axes.text(place, height, "mask", color=RIGHT, ha="center", va="top", fontsize=8)
    elif step.high < np.inf:
        above = float((step.excess > step.high).double().mean())
        below = float((step.excess < step.low).double().mean())
        axes.text(place, height, f"{above:.0%}", color=RIGHT, ha="center", va="top", fontsize=8)
        axes.text(place, -height, f"{below:.0%}", color=LEFT, ha="center", va="bottom", fontsize=8)


def draw_gradient(axes: Any, gradients: list[float]) -> None:
    """Gradient norm a step, in units of the smallest."""
    smallest = min(gradients)
    axes.bar(range(len(gradients)), [g / smallest for g in gradients], color=INK, width=0.6)
    axes.set_yscale("log")
    axes.set_ylim(0.8, 40)
    axes.set_yticks((1, 3, 10, 30), ("1", "3", "10", "30"))
    axes.minorticks_off()
    axes.set_xticks(range(len(gradients)))
    axes.set_xlabel("step")
    axes.set_title(f"gradient a step: ×{measure.ratio_between(gradients):.3g} apart")


def draw_gates() -> None:
    """What is left of the gradient, by ratio, for words that hold the ratio near 1."""
    places = torch.linspace(-4, 12, 321, dtype=torch.float64)
    figure, panels = plt.subplots(1, 5, figsize=(8.2, 2.1), sharey=True, layout="constrained")
    for axes, name in zip(panels, GATES, strict=True):
        axes.axvspan(-1, 1, color=BAND, lw=0)
        for advantage, colour, style in ((1, LEFT, "-"), (-1, RIGHT, "--")):
            axes.plot(places, measure.gate(name, places, advantage), style, color=colour, lw=1.4)
        axes.set_title(name)
        axes.set_xticks((-1, 1, 5, 10), ("−1", "1", "5", "10"))
        axes.set_yticks((0, 1))
        axes.set_ylim(-0.08, 1.12)
    panels[2].set_xlabel("(r − 1) / 2e-6; blue: good samples (A > 0), orange: bad ones (A < 0)")
    panels[0].set_ylabel("part of the gradient")
    save(figure, "gates")


def draw_spreads() -> None:
    """The log-ratio's spread a step, three words."""
    words = {"log r": (), "ratio-norm": ("ratio-norm",), "flat-norm": ("flat-norm",)}
    figure, axes = plt.subplots(figsize=(6.4, 3), layout="constrained")
    for (name, chain), colour in zip(words.items(), (LEFT, RIGHT, INK), strict=True):
        values = measure.spreads(chain)
        apart = measure.ratio_between(values)
        axes.plot([v / values[0] for v in values], "o-", color=colour, ms=4)
        label = f"{name}, ×{apart:.3g}"
        end = values[-1] / values[0]
        axes.annotate(
            label, (8, end), (8, 0), textcoords="offset points", color=colour, va="center"
        )
    axes.set_yscale("log")
    axes.set_xlim(-0.3, 10.3)
    axes.set_xticks(range(9))
    axes.set_yticks((1, 3, 10, 30), ("1", "3", "10", "30"))
    axes.minorticks_off()
    axes.set_xlabel("trained step")
    axes.set_title("spread of the log-ratio, step 0 = 1, the same Δv everywhere")
    save(figure, "spread")


def draw_shift() -> None:
    """The log-ratio's distribution for three sizes of K."""
    figure, panels = plt.subplots(1, 3, figsize=(8.2, 2.4), sharey=True, layout="constrained")
    for axes, k in zip(panels, (0.2, 2, 20), strict=True):
        values = measure.shifted(k, 4 * ROWS)
        scaled = (values / values.std()).numpy()
        axes.hist(scaled, bins=np.linspace(-7, 3.5, 43), color=LEFT, density=True)
        axes.axvline(0, color=INK, lw=1)
        axes.axvline(-((k / 2) ** 0.5), color=RIGHT, lw=1.5)
        axes.set_yticks(())
        axes.spines["left"].set_visible(False)
        axes.set_title(f"K = {k:g}: centre at −{(k / 2) ** 0.5:.2f}")
    panels[1].set_xlabel("log r in units of its own spread; black: ratio 1, orange: −√(K/2)")
    save(figure, "shift")


def draw_schedule() -> None:
    """dt, std and velocity gain of the two SDE samplers on SD3's schedule."""
    step = measure.sd3_schedule().step(torch.arange(9), 9)
    still = torch.zeros(9, 1)
    figure, panels = plt.subplots(1, 2, figsize=(8.2, 2.7), sharey=True, layout="constrained")
    for axes, name in zip(panels, ("flow-sde", "dance-sde"), strict=True):
        transition = create("sampler", name).transition(still, still, step)
        curves = {"std": transition.std, "velocity_gain": transition.velocity_gain, "dt": step.dt}
        for (label, values), colour in zip(curves.items(), (LEFT, RIGHT, MUTED), strict=True):
            axes.plot(values.numpy(), "o-", ms=3.5, color=colour, label=label)
        axes.set_title(name)
        axes.set_xticks(range(9))
        axes.set_xlabel("trained step")
    panels[0].legend(frameon=False)
    save(figure, "schedule")


def main() -> None:
    """Draw everything."""
    mpl.use("svg")
    with mpl.rc_context(STYLE):
        draw_schedule()
        draw_shift()
        draw_spreads()
        draw_gates()
        for name in STRATEGIES:
            draw_strategy(name)


if __name__ == "__main__":
    main()
