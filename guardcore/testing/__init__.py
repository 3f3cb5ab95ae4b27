"""The contract kit: what a component of each kind must keep to, as checks that anybody can call.

The same checks serve ``guardcore plugins doctor``, GuardCore's own tests, third parties' tests
and ``pytest --guardcore-contracts``::

    from guardcore.testing import check_ratio_transform

    def test_it_keeps_the_contract() -> None:
        check_ratio_transform(my_clip(MyClipOptions()))

A check returns nothing; a broken law is a ``ContractError`` that names the law and the smallest
case found (by hypothesis).

Every name is imported on first use: pytest loads ``guardcore.testing.pytest_plugin`` in every
project of an environment, and that must not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guardcore.testing.advantage import check_advantage as check_advantage
    from guardcore.testing.backbone import check_backbone as check_backbone
    from guardcore.testing.component import NotBuildable as NotBuildable
    from guardcore.testing.component import check_component as check_component
    from guardcore.testing.component import check_registered as check_registered
    from guardcore.testing.contexts import step_context as step_context
    from guardcore.testing.gradient_weight import check_gradient_weight as check_gradient_weight
    from guardcore.testing.law import ContractError as ContractError
    from guardcore.testing.penalty import check_penalty as check_penalty
    from guardcore.testing.prompt_source import check_prompt_source as check_prompt_source
    from guardcore.testing.ratio_transform import check_ratio_transform as check_ratio_transform
    from guardcore.testing.reward import check_reward as check_reward
    from guardcore.testing.sampler import check_sampler as check_sampler
    from guardcore.testing.strategy import check_strategy as check_strategy
    from guardcore.testing.tracker import check_tracker as check_tracker
    from guardcore.testing.window import check_window as check_window

_HOME = {
    "check_advantage": "advantage",
    "check_backbone": "backbone",
    "NotBuildable": "component",
    "check_component": "component",
    "check_registered": "component",
    "step_context": "contexts",
    "check_gradient_weight": "gradient_weight",
    "ContractError": "law",
    "check_penalty": "penalty",
    "check_prompt_source": "prompt_source",
    "check_ratio_transform": "ratio_transform",
    "check_reward": "reward",
    "check_sampler": "sampler",
    "check_strategy": "strategy",
    "check_tracker": "tracker",
    "check_window": "window",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'guardcore.testing' has no attribute {name!r}")
    value = getattr(import_module(f"guardcore.testing.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_HOME)
