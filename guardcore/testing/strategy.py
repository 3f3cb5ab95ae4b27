"""The laws of a strategy: its words exist, accept their options, and leave a ratio of 1 alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from guardcore.bound import Bound, validate_options
from guardcore.objective import Objective
from guardcore.plugins import installed
from guardcore.registry import create
from guardcore.spec import Spec, SpecLike, Strategy
from guardcore.testing.cases import StepCase, step_cases
from guardcore.testing.law import BrokenError, hold_each, label, once
from guardcore.testing.shared_laws import (
    AT_ZERO,
    NOTHING,
    expect_finite,
    expect_gradient,
    gradient_of,
)


def check_strategy(strategy: Strategy, *, name: str | None = None) -> None:
    """Check that a named sentence of words keeps to its contract.

    Its words are looked up among the installed plugins.

    Raises:
        ContractError: The first law that is broken, with the smallest case found.
    """
    who = label("strategy", strategy, name)
    once("described", who, lambda: _described(strategy))
    once("words-exist", who, lambda: _words_exist(strategy))
    once("samplers-exist", who, lambda: _samplers_exist(strategy))
    laws = (ratio_starts_at_one, every_row_learns)
    hold_each(who, laws, strategy, step_cases())


def ratio_starts_at_one(strategy: Strategy, case: StepCase) -> None:
    """Where nothing was learnt (d = 0), the whole chain leaves the ratio 1, within its bounds."""
    terms = _objective(strategy, case).rate(case.changed_by(0).context()).terms
    columns = (terms.log_ratio.tolist(), terms.low.tolist(), terms.high.tolist())
    for row, (value, low, high) in enumerate(zip(*columns, strict=True)):
        if abs(value) > NOTHING or not low <= 1 <= high:
            raise BrokenError(
                f"{AT_ZERO} row {row} has log-ratio {value:.3g} and bounds [{low}, {high}], "
                "not 0 and bounds that hold 1"
            )


def every_row_learns(strategy: Strategy, case: StepCase) -> None:
    """At d = 0, where each iteration begins, every row's weighted loss has a gradient."""
    context = case.changed_by(0).context()
    assert context.velocity is not None, "step_context gives one"
    loss = _objective(strategy, case).rate(context).loss
    gradient = gradient_of(loss, context.velocity, "the loss")
    expect_finite(gradient, "the loss' gradient")
    expect_gradient(gradient, f"{AT_ZERO} the loss")


def _described(strategy: Strategy) -> None:
    """A strategy says in a line what it does."""
    if not strategy.description.strip() or "\n" in strategy.description.strip():
        raise BrokenError(f"description must be one line, received {strategy.description!r}")


def _words_exist(strategy: Strategy) -> None:
    """Every word is installed, and its options are what it accepts."""
    if not (strategy.ratio or strategy.gradient_weight):
        raise BrokenError("it has no word")
    _words("ratio_transform", strategy.ratio)
    _words("gradient_weight", strategy.gradient_weight)


def _samplers_exist(strategy: Strategy) -> None:
    """The samplers that its weight was derived for are installed."""
    for sampler in strategy.samplers:
        installed().find("sampler", sampler)


def _objective(strategy: Strategy, case: StepCase) -> Objective:
    return Objective(
        sampler=create("sampler", case.sampler),
        ratio=_words("ratio_transform", strategy.ratio),
        gradient_weight=_words("gradient_weight", strategy.gradient_weight),
        penalty={},
        reduction=case.reduction,
    )


def _words(kind: str, words: Sequence[SpecLike]) -> list[tuple[str, Any]]:
    built = []
    for spec in map(Spec.model_validate, words):
        entry = installed().find(kind, spec.use)
        options = validate_options(entry, spec.options, f"{kind} {spec.use}")
        built.append((spec.use, Bound(f"{kind} {spec.use}", entry, options).build()))
    return built
