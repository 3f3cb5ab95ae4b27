"""The laws of a sampler."""

from __future__ import annotations

from collections.abc import Callable

import torch

from guardcore import noise
from guardcore.components import Sampler
from guardcore.tensors import per_row
from guardcore.testing.law import BrokenError, hold_each, label
from guardcore.testing.sampler_cases import (
    COARSE,
    SMALL,
    FlowCase,
    RowsCase,
    flow_cases,
    moment_errors,
    rows_cases,
)
from guardcore.testing.shared_laws import (
    expect_finite,
    expect_pure,
    expect_rows,
    expect_rows_independent,
)
from guardcore.testing.trees import take
from guardcore.transition import Transition, log_prob, ode_step

QUIET = 1e-6
"""A noise level that should leave the ODE's step."""


def check_sampler(
    sampler: Sampler,
    *,
    at_noise_level: Callable[[float], Sampler] | None = None,
    name: str | None = None,
) -> None:
    """Check that a denoising step keeps to its contract.

    Args:
        sampler: The component.
        at_noise_level: Builds the same sampler with another noise level; with it the limit of no
            noise is checked as well.
        name: What errors call it.

    Raises:
        ContractError: The first law that is broken, with the smallest case found.
    """
    who = label("sampler", sampler, name)
    step = (one_gaussian_a_row, dtype_kept, finite, in_range, pure, rows_independent)
    laws = (*step, velocity_gain, density_integrates_to_one)
    hold_each(who, laws, sampler, rows_cases())
    hold_each(who, [marginals_kept], sampler, flow_cases())
    if at_noise_level is not None:
        hold_each(who, [ode_without_noise], at_noise_level, rows_cases())


def one_gaussian_a_row(sampler: Sampler, case: RowsCase) -> None:
    """It returns a ``Transition``: a mean of the latents' shape, one std and one gain a row."""
    result: object = _transition(sampler, case)
    if not isinstance(result, Transition):
        raise BrokenError(f"must return a Transition, received {type(result).__name__}")
    shape = [len(case.steps), *case.shape]
    if list(result.mean.shape) != shape:
        raise BrokenError(f"mean must be {shape} like x, received {list(result.mean.shape)}")
    expect_rows(result.std, len(case.steps), "std")
    expect_rows(result.velocity_gain, len(case.steps), "velocity_gain")


def dtype_kept(sampler: Sampler, case: RowsCase) -> None:
    """Latents in float64 have a mean in float64, and float32 stays float32."""
    mean = _transition(sampler, case).mean
    if mean.dtype != case.dtype:
        raise BrokenError(f"x came as {case.dtype}, and the mean left as {mean.dtype}")


def finite(sampler: Sampler, case: RowsCase) -> None:
    """Mean, std and gain are finite at every step, sigma = 1 included."""
    result = _transition(sampler, case)
    for part in ("mean", "std", "velocity_gain"):
        expect_finite(getattr(result, part), part)


def in_range(sampler: Sampler, case: RowsCase) -> None:
    """A std isn't negative (0: deterministic), and more velocity means a lower mean."""
    result = _transition(sampler, case)
    if (result.std < 0).any():
        raise BrokenError(f"std must not be negative, received {result.std.tolist()}")
    if (result.velocity_gain <= 0).any():
        gain = result.velocity_gain.tolist()
        raise BrokenError(f"velocity_gain = −∂mean/∂velocity must be positive, received {gain}")


def pure(sampler: Sampler, case: RowsCase) -> None:
    """Velocity, latents and step are left alone, and the same call gives the same."""
    expect_pure(sampler.transition, case.arguments())


def rows_independent(sampler: Sampler, case: RowsCase) -> None:
    """Rows at different steps have what each has alone: sigma and dt are a row's own."""
    expect_rows_independent(sampler.transition, case.arguments(), len(case.steps))


def velocity_gain(sampler: Sampler, case: RowsCase) -> None:
    """``velocity_gain`` is −∂mean/∂velocity, as autograd has it, at every latent."""
    velocity, x, step = case.inputs()
    velocity.requires_grad_()
    result = sampler.transition(velocity, x, step)
    if not result.mean.requires_grad:
        raise BrokenError("the mean does not depend on the velocity: no gradient flows")
    # a random direction also sees a mean that mixes the latents
    direction = noise.draw(case.shape, 0, 0, "direction", range(len(x))).to(x)
    (gradient,) = torch.autograd.grad(result.mean, velocity, direction)
    claimed = -per_row(result.velocity_gain, direction) * direction
    wrong = (gradient - claimed).abs() > 1e-5 * (gradient.abs() + claimed.abs()) + 1e-9
    if wrong.any():
        row = int(wrong.nonzero()[0][0])
        found = float((-gradient[row] / direction[row]).flatten()[0])
        told = float(result.velocity_gain[row])
        raise BrokenError(
            f"row {row}: velocity_gain is {told:.7g}, autograd has −∂mean/∂velocity = {found:.7g}"
        )


def density_integrates_to_one(sampler: Sampler, case: RowsCase) -> None:
    """Where there is noise, the density of one latent and of two integrates to 1."""
    for dimensions in (1, 2):
        flat = RowsCase(case.steps, (dimensions,), case.seed, torch.float64)
        result = _transition(sampler, flat)
        for row in (result.std > 0).nonzero().flatten().tolist():
            total = _integral(take(result, [row]), dimensions)
            if abs(total - 1) > 1e-6:
                raise BrokenError(f"row {row}: over {dimensions} latents it is {total}")


def marginals_kept(sampler: Sampler, case: FlowCase) -> None:
    """A short step keeps the flow's mean and variance, but for an error that goes with dt²."""
    errors = moment_errors(sampler, case)
    for moment, (coarse, small) in errors.items():
        if small > coarse / 30 + 1e-11:
            raise BrokenError(
                f"after a step of dt = {COARSE} the {moment} is off by {coarse:.1e}, of dt = "
                f"{SMALL} still by {small:.1e}: drift and std do not keep it as dt → 0"
            )


def ode_without_noise(at_noise_level: Callable[[float], Sampler], case: RowsCase) -> None:
    """With next to no noise the step is the ODE's, ``x − v·dt`` with std 0."""
    velocity, x, step = case.inputs()
    result = at_noise_level(QUIET).transition(velocity, x, step)
    away = (result.mean - ode_step(velocity, x, step).mean).abs().max()
    if away > 1e-3:
        raise BrokenError(f"at noise level {QUIET} the mean is {float(away):.1e} from x − v·dt")
    if result.std.max() > 1e-2:
        raise BrokenError(f"at noise level {QUIET} the std is still {float(result.std.max()):.1e}")


def _transition(sampler: Sampler, case: RowsCase) -> Transition:
    return sampler.transition(*case.inputs())


def _integral(transition: Transition, dimensions: int) -> float:
    """Return the trapezoidal sum of a one-row density over ±7 std."""
    width = 0.25
    nodes = torch.arange(-28, 29, dtype=torch.float64) * width
    z = torch.cartesian_prod(*[nodes] * dimensions).reshape(-1, dimensions)
    many = take(transition, [0] * len(z))
    density = log_prob(many.draw(z), many, "sum").exp()
    return float(density.sum() * (width * transition.std[0].double()) ** dimensions)
