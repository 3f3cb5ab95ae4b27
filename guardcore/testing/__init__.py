"""The contract kit: what a component of each kind must keep to, as checks that anybody can call.

The same checks serve ``guardcore plugins doctor``, GuardCore's own tests, third parties' tests
and ``pytest --guardcore-contracts``::

    from guardcore.testing import check_ratio_transform

    def test_it_keeps_the_contract() -> None:
        check_ratio_transform(my_clip(MyClipOptions()))

A check returns nothing; a broken law is a ``ContractError`` that names the law and the smallest
case found (by hypothesis).
"""

from __future__ import annotations

from guardcore.testing.contexts import step_context as step_context
from guardcore.testing.law import ContractError as ContractError
