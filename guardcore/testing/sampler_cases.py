"""The cases that a sampler's laws are tried on: rows of latents, and a flow that is known.

Moments are simulated on the nodes of Gauss–Hermite quadrature in place of random draws: for a step
that is affine in the latents they leave no error but the sampler's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from guardcore import noise
from guardcore.components import Sampler
from guardcore.schedule import Step
from guardcore.testing.cases import LATENTS, rows_at_steps
from guardcore.testing.contexts import shifted_schedule
from guardcore.testing.shared_laws import Arguments

COARSE, SMALL = 1e-3, 1e-4
"""Step lengths dt. A step's own error goes with dt²: a hundredth from one to the other; that of a
wrong drift goes with dt: a tenth."""


@dataclass(frozen=True, repr=False)
class RowsCase:
    """Latents and velocities at the steps of a schedule of ten."""

    steps: tuple[int, ...]
    shape: tuple[int, ...]
    seed: int
    dtype: torch.dtype

    def inputs(self) -> tuple[Tensor, Tensor, Step]:
        """Return velocity, latents and step."""
        rows = range(len(self.steps))
        velocity, x = (
            noise.draw(self.shape, self.seed, 0, what, rows).to(self.dtype)
            for what in ("velocity", "x")
        )
        step = shifted_schedule(10, self.dtype).step(torch.tensor(self.steps), len(rows))
        return velocity, x, step

    def arguments(self) -> Arguments:
        """Return the same by name."""
        return dict(zip(("velocity", "x", "step"), self.inputs(), strict=True))

    def __repr__(self) -> str:
        """Return what matters to a sampler."""
        return (
            f"rows at the steps {list(self.steps)} of 10, each of shape {self.shape}, "
            f"{self.dtype}, seed {self.seed}"
        )


@dataclass(frozen=True, repr=False)
class FlowCase:
    """A flow to a single image of one value, at a noise level: its velocity is known."""

    image: float
    sigma: float

    def __repr__(self) -> str:
        """Return the flow in words."""
        return f"data that are all {self.image}, at sigma = {self.sigma}"


def rows_cases() -> st.SearchStrategy[RowsCase]:
    """One to four rows at different steps."""
    return st.builds(
        RowsCase,
        steps=rows_at_steps(),
        shape=st.sampled_from(LATENTS),
        seed=st.integers(0, 99),
        dtype=st.sampled_from((torch.float32, torch.float64)),
    )


def flow_cases() -> st.SearchStrategy[FlowCase]:
    """Images and noise levels, away from 0 and 1, where the flow's velocity has no end."""
    values = st.sampled_from((0.0, 1.0, -2.0))
    return st.builds(FlowCase, values, st.sampled_from((0.5, 0.2, 0.35, 0.65, 0.8, 0.9)))


def moment_errors(sampler: Sampler, case: FlowCase) -> dict[str, tuple[float, float]]:
    """Return by how much a coarse and a small step miss the flow's mean and variance."""
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(3))
    weight = torch.outer(weights, weights).flatten() / (2 * math.pi)
    now, drawn = torch.cartesian_prod(nodes, nodes).T  # [9] each: noise so far, and of this step
    sigma = torch.full((2,), case.sigma, dtype=torch.float64)
    after = sigma - torch.tensor([COARSE, SMALL], dtype=torch.float64)
    step = Step(torch.zeros(2, dtype=torch.long), sigma, after, sigma_max=0.98)
    x = ((1 - case.sigma) * case.image + case.sigma * now).expand(2, -1)
    velocity = (x - case.image) / case.sigma  # E[noise − x0 | x] where there is one image
    x_next = sampler.transition(velocity, x, step).draw(drawn.expand(2, -1))
    mean = x_next @ weight
    variance = (x_next - mean[:, None]) ** 2 @ weight
    wrong = {"mean": mean - (1 - after) * case.image, "variance": variance - after**2}
    return {name: (abs(float(e[0])), abs(float(e[1]))) for name, e in wrong.items()}
