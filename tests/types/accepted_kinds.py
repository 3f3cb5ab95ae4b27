"""One plugin with a component of every kind, an observer, and the kit's step contexts."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from guardcore import (
    Advantage,
    Calibration,
    GradientWeight,
    Options,
    Outline,
    Part,
    Penalty,
    Prompt,
    PromptSource,
    RatioTerms,
    RatioTransform,
    Registrar,
    Reward,
    Sampler,
    Saving,
    Step,
    StepContext,
    Strategy,
    Tracker,
    Transition,
    Window,
    create,
    hookimpl,
    log_ratio,
    replay,
)
from guardcore.testing import (
    ContractError,
    NotBuildable,
    check_advantage,
    check_component,
    check_gradient_weight,
    check_penalty,
    check_prompt_source,
    check_ratio_transform,
    check_reward,
    check_sampler,
    check_strategy,
    check_tracker,
    check_window,
    step_context,
)

if TYPE_CHECKING:
    from guardcore.run import Run
    from guardcore.watch import Alarm


class ServerOptions(Options):
    may_change: ClassVar[frozenset[str]] = frozenset({"url"})

    url: str = Field("http://127.0.0.1:8000", description="where the judge answers")
    scale: float = Field(1.0, gt=0, description="of the score; no unit")


class WaitingOptions(Options):
    width: float | None = Field(None, gt=0, description="half-width; null: measured by the run")

    def calibration(self) -> Calibration | None:
        return Calibration(iterations=5, fraction=0.1) if self.width is None else None

    def calibrated(self, width: float) -> WaitingOptions:
        return self.model_copy(update={"width": width})


class Steps:
    def __init__(self, options: Options) -> None: ...

    def transition(self, velocity: Tensor, x: Tensor, step: Step) -> Transition:
        std = step.dt.sqrt()
        return Transition(mean=x - velocity, std=std, velocity_gain=torch.ones_like(std))


class Judge:
    def __init__(self, options: ServerOptions) -> None:
        self.options = options

    def __call__(self, images: Tensor, prompts: Sequence[Prompt], /) -> Tensor:
        return images.mean((1, 2, 3)) * self.options.scale

    def close(self) -> None: ...


class Board:
    def __init__(self, options: Options) -> None: ...

    def metrics(self, step: int, values: Mapping[str, float], /) -> None: ...

    def images(self, step: int, name: str, images: Tensor, captions: Sequence[str], /) -> None: ...

    def close(self) -> None: ...


def samplers(options: Options) -> Sampler:
    return Steps(options)


def judge(options: ServerOptions) -> Reward:
    return Judge(options)


def board(options: Options) -> Tracker:
    return Board(options)


def prompts(options: Options) -> PromptSource:
    return [Prompt("a cat"), Prompt("two cats", {"tag": "counting", "count": 2})]


def first_of_two(options: Options) -> Advantage:
    def advantage(
        rewards: Mapping[str, Tensor], groups: Tensor, weights: Mapping[str, float], /
    ) -> Tensor:
        return torch.stack([weights[name] * values for name, values in rewards.items()]).sum(0)

    return advantage


def waiting(options: WaitingOptions) -> RatioTransform:
    def transform(terms: RatioTerms, context: StepContext, /) -> RatioTerms:
        return terms if options.width is None else RatioTerms(terms.log_ratio.clamp(-1, 1))

    return transform


def flat(options: Options) -> GradientWeight:
    return lambda context: torch.ones_like(context.step.sigma)


def far(options: Options) -> Penalty:
    return lambda context: context.reduce(context.d.square())


def turn_by_turn(options: Options) -> Window:
    return lambda iteration, steps, generator: [iteration % steps]


@hookimpl
def guardcore_register_windows(register: Registrar) -> None:
    register("turn-by-turn", turn_by_turn)


@hookimpl
def guardcore_register_prompt_sources(register: Registrar) -> None:
    register("two-cats", prompts)


@hookimpl
def guardcore_register_samplers(register: Registrar) -> None:
    register("steps", samplers)
    register("steps-by-class", Steps)


@hookimpl
def guardcore_register_rewards(register: Registrar) -> None:
    register("judge", judge)
    register("judge-by-class", Judge)


@hookimpl
def guardcore_register_advantages(register: Registrar) -> None:
    register("first-of-two", first_of_two)


@hookimpl
def guardcore_register_ratio_transforms(register: Registrar) -> None:
    register("waiting", waiting)


@hookimpl
def guardcore_register_gradient_weights(register: Registrar) -> None:
    register("flat", flat)


@hookimpl
def guardcore_register_penalties(register: Registrar) -> None:
    register("far", far)


@hookimpl
def guardcore_register_strategies(register: Registrar) -> None:
    register("mine", Strategy(["waiting", "other-distribution:word"], samplers=("steps",)))


@hookimpl
def guardcore_register_trackers(register: Registrar) -> None:
    register("board", board)


@hookimpl
def guardcore_alarm_raised(run: Run, iteration: int, alarm: Alarm) -> None:
    run.trackers.metrics(iteration, {"best": float(alarm.best)})


class Observer:
    """Hooks may be methods, and take fewer arguments."""

    @hookimpl
    def guardcore_alarm_raised(self, iteration: int) -> None: ...


def outline(outlined: Outline) -> tuple[list[Part], list[Saving]]:
    return list(outlined.parts.values()), list(outlined.savings)


def in_a_notebook(directory: Path) -> float:
    """The kit's contexts are what an update shows."""
    context = step_context(6, (4, 8, 8), steps=[0, 3], change=0.1, dtype=torch.float64)
    terms = waiting(WaitingOptions(width=0.1))(RatioTerms(log_ratio(context)), context)
    seen = replay(directory, ratio=[waiting(WaitingOptions())], gradient=False)
    built: Any = create("reward", "some-distribution:judge", scale=2.0)
    return float(terms.log_ratio.sum()) + len(seen.candidates) + len(str(built))


def test_everything_keeps_its_contract() -> None:
    check_sampler(Steps(Options()), at_noise_level=lambda level: Steps(Options()), name="steps")
    check_ratio_transform(waiting(WaitingOptions(width=0.1)))
    check_gradient_weight(flat(Options()))
    check_penalty(far(Options()), non_negative=False)
    check_advantage(first_of_two(Options()))
    check_window(turn_by_turn(Options()))
    check_strategy(Strategy(["ratio-norm"]))
    check_reward(judge(ServerOptions()), prompts=[Prompt("a cat")], size=128)
    check_prompt_source(prompts(Options()))
    check_tracker(board(Options()))
    with contextlib.suppress(NotBuildable):
        check_component("reward", "my-package:judge", scale=2.0)


def why(error: ContractError) -> str:
    return f"{error.who} breaks {error.law}: {error.reason} ({error.case})"
