"""The laws of a ratio transform."""

from __future__ import annotations

import torch
from torch import Tensor

from guardcore.components import RatioTransform
from guardcore.ratio import RatioTerms, StepContext, surrogate
from guardcore.testing.cases import TermsCase, terms_cases
from guardcore.testing.law import BrokenError, hold_each, label
from guardcore.testing.shared_laws import (
    AT_ZERO,
    NOTHING,
    expect_finite,
    expect_gradient,
    expect_pure,
    expect_rows,
    expect_rows_independent,
    expect_rows_shape,
    gradient_of,
)
from guardcore.testing.trees import take, tensors

FINE = 2e-8
"""A hundredth of the narrowest clip range: float32 near a ratio of 1 has steps of 6e-8."""


def check_ratio_transform(transform: RatioTransform, *, name: str | None = None) -> None:
    """Check that a word on the importance ratio keeps to its contract.

    Raises:
        ContractError: The first law that is broken, with the smallest case found.
    """
    laws = (
        one_number_a_row,
        dtype_kept,
        finite,
        pure,
        unchanged_without_change,
        bounds_in_order,
        bounds_never_widen,
        rows_independent,
        gradient_flows,
        precise,
    )
    hold_each(label("ratio transform", transform, name), laws, transform, terms_cases())


def one_number_a_row(transform: RatioTransform, case: TermsCase) -> None:
    """It returns ``RatioTerms`` of ``[B]`` each; log-ratio and bounds are numbers."""
    context = case.at.context()
    result: object = transform(case.terms(context), context)
    if not isinstance(result, RatioTerms):
        raise BrokenError(f"must return RatioTerms, received {type(result).__name__}")
    for part, values in _numbers(result).items():
        expect_rows(values, len(case.at.steps), part)
    for part, values in tensors(result).items():
        expect_rows_shape(values, len(case.at.steps), part)


def dtype_kept(transform: RatioTransform, case: TermsCase) -> None:
    """Log-ratio and bounds stay float64: 1 + 2e-6 is 17 float32 steps above 1."""
    for part, values in _numbers(_result(transform, case)).items():
        if values.dtype != torch.float64:
            raise BrokenError(f"{part} came as torch.float64 and left as {values.dtype}")


def finite(transform: RatioTransform, case: TermsCase) -> None:
    """The log-ratio is finite; of the bounds only ``high`` may be infinite."""
    terms = _result(transform, case)
    expect_finite(terms.log_ratio, "log_ratio")
    expect_finite(terms.low, "low")
    if terms.high.isnan().any():
        raise BrokenError(f"high must be a number, received {terms.high.tolist()}")


def pure(transform: RatioTransform, case: TermsCase) -> None:
    """Terms and context are left alone, and the same call gives the same."""
    context = case.at.context()
    expect_pure(transform, {"terms": case.terms(context), "context": context})


def unchanged_without_change(transform: RatioTransform, case: TermsCase) -> None:
    """Where nothing was learnt (d = 0), the ratio stays 1 and lies within the bounds."""
    context = case.at.changed_by(0).context()
    terms = transform(case.terms(context), context)
    for row, value in enumerate(terms.log_ratio.tolist()):
        low, high = float(terms.low[row]), float(terms.high[row])
        if abs(value) > NOTHING:
            raise BrokenError(f"{AT_ZERO} the log-ratio must stay 0, row {row} is {value:.3g}")
        if not low <= 1 <= high:
            raise BrokenError(f"{AT_ZERO} the bounds must hold 1, row {row} has [{low}, {high}]")


def bounds_in_order(transform: RatioTransform, case: TermsCase) -> None:
    """``low`` is never above ``high``."""
    terms = _result(transform, case)
    for row, (low, high) in enumerate(zip(terms.low.tolist(), terms.high.tolist(), strict=True)):
        if low > high:
            raise BrokenError(f"low must not be above high, row {row} has [{low}, {high}]")


def bounds_never_widen(transform: RatioTransform, case: TermsCase) -> None:
    """Bounds that earlier words have set are passed on, or narrowed."""
    terms = _result(transform, case)
    for row, (low, high) in enumerate(zip(terms.low.tolist(), terms.high.tolist(), strict=True)):
        if low < case.low - NOTHING or high > case.high + NOTHING:
            raise BrokenError(
                f"row {row} came with the bounds [{case.low}, {case.high}] and left with "
                f"[{low}, {high}]: pass on what you do not change, by dataclasses.replace"
            )


def rows_independent(transform: RatioTransform, case: TermsCase) -> None:
    """A row gets the same terms in whatever batch it is: nothing is averaged over rows."""
    context = case.at.context()
    terms = case.terms(context)
    # log r and the bias may cancel, so the rounding of either counts, not of their sum alone
    size = terms.log_ratio.detach().abs()
    arguments = {"terms": terms, "context": context}
    expect_rows_independent(transform, arguments, len(size), size)


def gradient_flows(transform: RatioTransform, case: TermsCase) -> None:
    """Every row learns at d = 0, where each iteration begins; far away gradients are finite."""
    start = case.at.changed_by(0).context()
    advantage = torch.ones(len(case.at.steps), dtype=torch.float64)
    for sign in (advantage, -advantage):
        terms = transform(case.terms(start), start)
        loss = surrogate(terms, sign, advantage).loss
        gradient = gradient_of(loss, _velocity(start), "the log-ratio")
        expect_gradient(gradient, f"{AT_ZERO} the loss")
    context = case.at.context()
    log_ratio = transform(case.terms(context), context).log_ratio
    gradient = gradient_of(log_ratio, _velocity(context), "the log-ratio")
    expect_finite(gradient, "the log-ratio's gradient")


def precise(transform: RatioTransform, case: TermsCase) -> None:
    """Log-ratios that lie 2e-8 apart don't come out in stairs, as from lower precision."""
    row = take(case.at.context(), [0] * 33)
    for start in (0.0, 1e-6, -1e-6, 1e-4, -1e-4):
        log_ratio = start + FINE * torch.arange(33, dtype=torch.float64)
        terms = transform(case.around(log_ratio), row)
        change = terms.log_ratio.detach().diff()
        flat, jump = change == 0, change.abs() > NOTHING
        # a clip is flat at most at both ends: it is left once
        if int((flat[:-1] & jump[1:]).sum()) > 1:
            size = float(change.abs().max())
            raise BrokenError(
                f"log-ratios from {start} on, {FINE} apart, come out in stairs of {size:.1e}: "
                "they passed through a lower precision than float64"
            )


def _result(transform: RatioTransform, case: TermsCase) -> RatioTerms:
    context = case.at.context()
    return transform(case.terms(context), context)


def _numbers(terms: RatioTerms) -> dict[str, Tensor]:
    return {"log_ratio": terms.log_ratio, "low": terms.low, "high": terms.high}


def _velocity(context: StepContext) -> Tensor:
    assert context.velocity is not None, "step_context gives one"
    return context.velocity
