"""What a plugin can add to GuardCore, in the order in which a run uses it.

A plugin is a module named in its distribution's entry points, group ``guardcore.v1``. It imports
``hookimpl`` and ``Options`` from ``guardcore`` and implements any of these hooks. Each is called
once, with a ``register`` that is bound to the plugin's origin::

    @hookimpl
    def guardcore_register_ratio_transforms(register):
        register("my-clip", my_clip)

    def my_clip(options: MyClipOptions) -> RatioTransform: ...

A factory takes exactly one argument, annotated with a subclass of ``guardcore.Options``.
Registering changes no run; naming the component in a config does.

Hooks that do not register anything observe: they are told, may take any of the arguments, return
nothing and change nothing. One that fails is logged and told no more; the run goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

from guardcore.spec import Strategy

if TYPE_CHECKING:
    from guardcore.run import Run
    from guardcore.watch import Alarm

PROJECT = "guardcore"
ENTRY_POINT_GROUP = "guardcore.v1"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Registrar(Protocol):
    """What a registration hook receives."""

    def __call__(self, name: str, factory: Callable[[Any], object] | Strategy, /) -> None:
        """Register a factory under a kebab-case name.

        Raises:
            ValueError: The name is not kebab-case, or the plugin has registered it already.
            TypeError: The factory does not take exactly one annotated ``Options``.
        """


@hookspec
def guardcore_register_prompt_sources(register: Registrar) -> None:
    """Add sequences of prompts: ``len`` and ``getitem -> Prompt``. One per split."""


@hookspec
def guardcore_register_backbones(register: Registrar) -> None:
    """Add models: encode, schedule, velocity, decode, and what of them is trained.

    Options with a method ``outline() -> Outline`` let ``guardcore plan`` foretell a run's cost.
    """


@hookspec
def guardcore_register_samplers(register: Registrar) -> None:
    """Add denoising steps as distributions: ``.transition(velocity, x, step) -> Transition``."""


@hookspec
def guardcore_register_windows(register: Registrar) -> None:
    """Add choices of the trained steps: ``(iteration, steps, generator) -> Sequence[int]``.

    Options with a method ``reach(steps) -> Sequence[int]`` say which steps their window may ever
    choose, and raise a ``ValueError`` where it does not fit into so many, before a run begins.
    """


@hookspec
def guardcore_register_rewards(register: Registrar) -> None:
    """Add judges of images: ``(images [B,3,H,W] in [0,1], prompts) -> [B]``, higher is better.

    Images come as float32 on the CPU; a reward with a ``device`` option moves them there itself.
    Each reward is called from a thread of its own, one call at a time.
    """


@hookspec
def guardcore_register_advantages(register: Registrar) -> None:
    """Add group-relative advantages: ``(rewards, groups, weights) -> [N]`` or ``[N, S]``."""


@hookspec
def guardcore_register_ratio_transforms(register: Registrar) -> None:
    """Add words on the importance ratio: ``(RatioTerms, StepContext) -> RatioTerms``.

    Options with the methods ``calibration() -> Calibration | None`` and ``calibrated(width) ->
    Options`` may wait for a quantile of ``|ratio − 1|`` that the run itself measures: until then
    the word is left out, and from then on it is built from what ``calibrated`` returns.
    """


@hookspec
def guardcore_register_gradient_weights(register: Registrar) -> None:
    """Add positive factors on the surrogate: ``(StepContext) -> [B]``."""


@hookspec
def guardcore_register_penalties(register: Registrar) -> None:
    """Add terms of the loss: ``(StepContext) -> [B]``, with a coefficient from the config."""


@hookspec
def guardcore_register_strategies(register: Registrar) -> None:
    """Add named sentences of ratio transforms and gradient weights. Data, not factories."""


@hookspec
def guardcore_register_trackers(register: Registrar) -> None:
    """Add receivers of metrics and images. All that a config names are told everything."""


@hookspec
def guardcore_alarm_raised(run: Run, iteration: int, alarm: Alarm) -> None:
    """Observe that the trained score rises while gold falls, each beyond its noise."""
