"""The laws of a gradient weight."""

from __future__ import annotations

from guardcore.components import GradientWeight
from guardcore.testing.cases import StepCase, step_cases
from guardcore.testing.law import BrokenError, hold_each, label
from guardcore.testing.shared_laws import (
    expect_finite,
    expect_pure,
    expect_rows,
    expect_rows_independent,
)


def check_gradient_weight(weight: GradientWeight, *, name: str | None = None) -> None:
    """Check that a factor on the surrogate keeps to its contract.

    Raises:
        ContractError: The first law that is broken, with the smallest case found.
    """
    laws = (one_number_a_row, finite, positive, pure, rows_independent, no_gradient)
    hold_each(label("gradient weight", weight, name), laws, weight, step_cases())


def one_number_a_row(weight: GradientWeight, case: StepCase) -> None:
    """It returns ``[B]``: a scalar or a ``[1]`` would weigh all rows alike without a word."""
    expect_rows(weight(case.context()), len(case.steps), "the weight")


def finite(weight: GradientWeight, case: StepCase) -> None:
    """It is finite at every step, sigma = 1 included."""
    expect_finite(weight(case.context()), "the weight")


def positive(weight: GradientWeight, case: StepCase) -> None:
    """It is above 0: a weight neither turns a gradient round nor takes it away."""
    for row, value in enumerate(weight(case.context()).tolist()):
        if value <= 0:
            raise BrokenError(f"the weight must be positive, row {row} is {value:.7g}")


def pure(weight: GradientWeight, case: StepCase) -> None:
    """The context is left alone, and the same call gives the same."""
    expect_pure(weight, {"context": case.context()})


def rows_independent(weight: GradientWeight, case: StepCase) -> None:
    """A row weighs the same in whatever batch it is: sigma and dt are its own."""
    expect_rows_independent(weight, {"context": case.context()}, len(case.steps))


def no_gradient(weight: GradientWeight, case: StepCase) -> None:
    """It weighs and isn't learnt: no gradient flows through it into the new velocity."""
    if weight(case.context()).requires_grad:
        raise BrokenError("the weight has a gradient in the new velocity: detach it")
