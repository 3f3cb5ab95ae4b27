"""The laws of a penalty."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from guardcore.components import Penalty
from guardcore.ratio import StepContext
from guardcore.testing.cases import StepCase, step_cases
from guardcore.testing.law import BrokenError, hold_each, label
from guardcore.testing.shared_laws import (
    NOTHING,
    expect_finite,
    expect_gradient,
    expect_pure,
    expect_rows,
    expect_rows_independent,
    gradient_of,
)
from guardcore.transition import Transition

FAR = 1.0
"""A change as large as the velocity itself."""


def check_penalty(penalty: Penalty, *, non_negative: bool = True, name: str | None = None) -> None:
    """Check that a term of the loss keeps to its contract.

    Args:
        penalty: The component.
        non_negative: Whether it claims never to be below 0.
        name: What errors call it.

    Raises:
        ContractError: The first law that is broken, with the smallest case found.
    """
    first = (one_number_a_row, finite, pure, nothing_at_the_reference)
    claimed = (never_negative,) if non_negative else ()
    laws = (*first, *claimed, rows_independent, gradient_flows)
    hold_each(label("penalty", penalty, name), laws, penalty, step_cases())


def one_number_a_row(penalty: Penalty, case: StepCase) -> None:
    """It returns ``[B]``."""
    expect_rows(penalty(case.context()), len(case.steps), "the penalty")


def finite(penalty: Penalty, case: StepCase) -> None:
    """It is finite at every step."""
    expect_finite(penalty(case.context()), "the penalty")


def pure(penalty: Penalty, case: StepCase) -> None:
    """The context is left alone, and the same call gives the same."""
    expect_pure(penalty, {"context": case.context()})


def nothing_at_the_reference(penalty: Penalty, case: StepCase) -> None:
    """Where the new weights are the reference's, it is 0."""
    for row, value in enumerate(penalty(_at_the_reference(case.context())).tolist()):
        if abs(value) > NOTHING:
            raise BrokenError(f"at the reference the penalty must be 0, row {row} is {value:.3g}")


def never_negative(penalty: Penalty, case: StepCase) -> None:
    """It is never below 0, but for the rounding of numbers of order 1."""
    for row, value in enumerate(penalty(case.context()).tolist()):
        if value < -1e-7:
            raise BrokenError(f"the penalty must not be negative, row {row} is {value:.3g}")


def rows_independent(penalty: Penalty, case: StepCase) -> None:
    """A row is punished the same in whatever batch it is."""
    expect_rows_independent(penalty, {"context": case.context()}, len(case.steps))


def gradient_flows(penalty: Penalty, case: StepCase) -> None:
    """Far from the reference it pulls at every row, and with a finite gradient."""
    context = case.changed_by(FAR).context()
    assert context.velocity is not None, "step_context gives one"
    gradient = gradient_of(penalty(context), context.velocity, "the penalty")
    expect_finite(gradient, "the penalty's gradient")
    expect_gradient(gradient, "far from the reference the penalty")


def _at_the_reference(context: StepContext) -> StepContext:
    new = context.new
    return replace(
        context,
        reference=Transition(new.mean.detach(), new.std, new.velocity_gain),
        reference_velocity=_detached(context.velocity),
    )


def _detached(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.detach()
