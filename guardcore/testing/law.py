"""A law of a contract: tried on many small cases, reported with the smallest one that breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Flaky
from hypothesis.strategies import SearchStrategy

from guardcore.errors import GuardcoreError

Case = TypeVar("Case")
Component = TypeVar("Component")

TRIES = 40
"""Cases a law; with small tensors about a second a component."""

UNSTEADY = "the same case passes once and fails once: it keeps state, or draws at random"


class BrokenError(Exception):
    """What a law's check raises: what was expected, and what was received."""


class ContractError(AssertionError):
    """A component breaks a law of its kind's contract.

    Attributes:
        law: The law's name, ``rows-independent``.
        who: The component, ``ratio transform 'my-clip'``.
        reason: What was expected and what was received, on one line.
        case: The smallest case found; empty where the law needs none.
    """

    def __init__(self, law: str, who: str, reason: str, case: str = "") -> None:
        self.law, self.who, self.reason, self.case = law, who, " ".join(reason.split()), case
        super().__init__(law, who, reason, case)

    def __str__(self) -> str:
        found = f"; smallest case: {self.case}" if self.case else ""
        return f"{self.who} breaks the law {self.law!r}: {self.reason}{found}"


def label(kind: str, component: object, name: str | None) -> str:
    """Return what errors call a component: its kind with the name given, or with its own."""
    return f"{kind} {name or getattr(component, '__name__', type(component).__name__)!r}"


def hold_each(
    who: str,
    laws: Sequence[Callable[[Component, Case], None]],
    component: Component,
    cases: SearchStrategy[Case],
    tries: int = TRIES,
) -> None:
    """Try all laws on ``cases``; of those that are broken, report the first.

    A law is called as its function is, ``rows-independent``. The smallest case is looked for only
    where there is one, so laws that hold cost one pass over the cases together.

    Raises:
        ContractError: One is broken.
    """
    __tracebackhide__ = True
    tried = {law.__name__.replace("_", "-"): partial(law, component) for law in laws}
    broken: set[str] = set()
    _on_each(cases, tries, lambda case: broken.update(_breaks(tried, case)))
    for law in (law for law in tried if law in broken):
        hold(law, who, cases, tried[law], tries)
        raise ContractError(law, who, UNSTEADY)


def hold(
    law: str,
    who: str,
    cases: SearchStrategy[Case],
    check: Callable[[Case], None],
    tries: int = TRIES,
) -> None:
    """Try ``check`` on ``cases``, the same ones every time.

    Raises:
        ContractError: One raised ``BrokenError``, or anything else.
    """
    __tracebackhide__ = True
    try:
        _on_each(cases, tries, lambda case: _try(law, who, case, check))
    except Flaky as error:
        raise ContractError(law, who, UNSTEADY) from error
    except ContractError as error:  # without hypothesis' frames, and its own words on the case
        error.__notes__ = []
        raise error.with_traceback(None) from error.__cause__


def _on_each(cases: SearchStrategy[Case], tries: int, check: Callable[[Case], None]) -> None:
    @settings(
        max_examples=tries,
        database=None,
        derandomize=True,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def trial(case: Case) -> None:
        check(case)

    trial()


def _breaks(laws: Mapping[str, Callable[[Case], None]], case: Case) -> Iterator[str]:
    for law, check in laws.items():
        try:
            check(case)
        except Exception:  # a stranger's component may raise anything
            yield law


def once(law: str, who: str, check: Callable[[], None]) -> None:
    """Try a law that needs no cases.

    Raises:
        ContractError: It raised ``BrokenError``, or anything else.
    """
    __tracebackhide__ = True
    _try(law, who, None, lambda _: check())


def _try(law: str, who: str, case: Case, check: Callable[[Case], None]) -> None:
    __tracebackhide__ = True
    shown = "" if case is None else repr(case)
    try:
        check(case)
    except BrokenError as error:
        raise ContractError(law, who, str(error), shown) from None
    except GuardcoreError as error:  # says by itself what is wrong
        raise ContractError(law, who, str(error), shown) from error
    except Exception as error:  # a stranger's component may raise anything
        raise ContractError(law, who, f"raised {type(error).__name__}: {error}", shown) from error
