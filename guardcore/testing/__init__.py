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

from guardcore.testing.advantage import check_advantage as check_advantage
from guardcore.testing.contexts import step_context as step_context
from guardcore.testing.gradient_weight import check_gradient_weight as check_gradient_weight
from guardcore.testing.law import ContractError as ContractError
from guardcore.testing.penalty import check_penalty as check_penalty
from guardcore.testing.ratio_transform import check_ratio_transform as check_ratio_transform
from guardcore.testing.sampler import check_sampler as check_sampler
from guardcore.testing.strategy import check_strategy as check_strategy
from guardcore.testing.window import check_window as check_window
