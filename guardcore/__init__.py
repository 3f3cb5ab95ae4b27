"""GuardCore: reinforcement-learning fine-tuning of flow-matching image models, as plugins.

Every public name is imported on first use, so that ``import guardcore`` costs nothing and a
plugin module that only registers does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guardcore.components import Advantage as Advantage
    from guardcore.components import Backbone as Backbone
    from guardcore.components import GradientWeight as GradientWeight
    from guardcore.components import Penalty as Penalty
    from guardcore.components import PromptSource as PromptSource
    from guardcore.components import RatioTransform as RatioTransform
    from guardcore.components import Reward as Reward
    from guardcore.components import Sampler as Sampler
    from guardcore.components import Tracker as Tracker
    from guardcore.components import Window as Window
    from guardcore.condition import Condition as Condition
    from guardcore.config import RunConfig as RunConfig
    from guardcore.errors import GuardcoreError as GuardcoreError
    from guardcore.hookspecs import Registrar as Registrar
    from guardcore.hookspecs import hookimpl as hookimpl
    from guardcore.loop import train as train
    from guardcore.options import Calibration as Calibration
    from guardcore.options import Options as Options
    from guardcore.outline import Outline as Outline
    from guardcore.outline import Part as Part
    from guardcore.outline import Saving as Saving
    from guardcore.prompt import Prompt as Prompt
    from guardcore.ratio import RatioTerms as RatioTerms
    from guardcore.ratio import StepContext as StepContext
    from guardcore.ratio import Surrogate as Surrogate
    from guardcore.ratio import log_ratio as log_ratio
    from guardcore.ratio import surrogate as surrogate
    from guardcore.registry import create as create
    from guardcore.replaying import replay as replay
    from guardcore.schedule import Schedule as Schedule
    from guardcore.schedule import Step as Step
    from guardcore.spec import Strategy as Strategy
    from guardcore.tensors import per_row as per_row
    from guardcore.tensors import promote as promote
    from guardcore.tensors import reduce_latents as reduce_latents
    from guardcore.transition import Transition as Transition
    from guardcore.transition import log_prob as log_prob
    from guardcore.transition import ode_step as ode_step

_HOME = {
    name: module
    for module, names in {
        "components": "Advantage Backbone GradientWeight Penalty PromptSource RatioTransform "
        "Reward Sampler Tracker Window",
        "condition": "Condition",
        "config": "RunConfig",
        "errors": "GuardcoreError",
        "hookspecs": "Registrar hookimpl",
        "loop": "train",
        "options": "Calibration Options",
        "outline": "Outline Part Saving",
        "prompt": "Prompt",
        "ratio": "RatioTerms StepContext Surrogate log_ratio surrogate",
        "registry": "create",
        "replaying": "replay",
        "schedule": "Schedule Step",
        "spec": "Strategy",
        "tensors": "per_row promote reduce_latents",
        "transition": "Transition log_prob ode_step",
    }.items()
    for name in names.split()
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'guardcore' has no attribute {name!r}")
    value = getattr(import_module(f"guardcore.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_HOME)
