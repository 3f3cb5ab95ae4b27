"""What a third party may get wrong with hooks, options, contracts and the kit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

import guardcore.testing
from guardcore import (
    Advantage,
    Backbone,
    Calibration,
    Condition,
    GradientWeight,
    Options,
    Penalty,
    Prompt,
    PromptSource,
    RatioTerms,
    RatioTransform,
    Registrar,
    RunConfig,
    Sampler,
    Schedule,
    Step,
    StepContext,
    Strategy,
    Tracker,
    Transition,
    Window,
    create,
    hookimpl,
    log_ratio,
    per_row,
    replay,
    train,
)
from guardcore.testing import (
    ContractError,
    check_component,
    check_reward,
    check_sampler,
    check_window,
    step_context,
)


class MineOptions(Options):
    scale: float = Field(1.0, description="no unit")


class Dozing:
    def metrics(self, step: int, values: Mapping[str, Tensor]) -> None: ...

    def images(self, step: int, name: str, images: Tensor, captions: Sequence[str]) -> None: ...

    def close(self) -> None: ...


class Titles:
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> str:
        return "a cat"


class Headless:
    def encode(self, prompts: Sequence[Prompt], height: int, width: int) -> Condition:
        raise NotImplementedError

    def schedule(self, steps: int, height: int, width: int) -> Schedule:
        raise NotImplementedError


class AsksForMore:
    def transition(self, velocity: Tensor, x: Tensor, step: Step, noise: Tensor) -> Transition:
        raise NotImplementedError


class BoundsAsFloats:
    def __call__(self, terms: RatioTerms, context: StepContext) -> RatioTerms:
        return RatioTerms(terms.log_ratio, 0.9, 1.1)  # refused: arg-type


def two_penalties(context: StepContext) -> tuple[Tensor, Tensor]:
    return context.d, context.bias


def of_the_terms(terms: RatioTerms) -> Tensor:
    return terms.log_ratio


def by_keyword(*, rewards: Mapping[str, Tensor], groups: Tensor) -> Tensor:
    return groups


def forgets_the_generator(iteration: int, steps: int) -> list[int]:
    return [iteration % steps]


def in_words(context: StepContext) -> str:
    return "a lot"


a: Tracker = Dozing()  # refused: assignment
b: PromptSource = Titles()  # refused: assignment
c: Backbone = Headless()  # refused: assignment
d: Sampler = AsksForMore()  # refused: assignment
e: Penalty = two_penalties  # refused: assignment
f: GradientWeight = of_the_terms  # refused: assignment
g: Advantage = by_keyword  # refused: assignment
h: RatioTransform = MineOptions  # refused: assignment
i: Penalty = in_words  # refused: assignment


j: Window = forgets_the_generator  # refused: assignment


@hookimpl
def guardcore_register_rewards(register: Registrar) -> None:
    register()  # refused: call-arg
    register("mine", name="mine")  # refused: call-arg
    register(name="mine", factory=MineOptions)  # refused: call-arg
    register("mine", "module.factory")  # refused: arg-type
    register.undo("mine")  # refused: attr-defined


def in_a_notebook(directory: Path, config: RunConfig) -> None:
    context = step_context(rows="4")  # refused: arg-type
    step_context(4, (4, 8, 8), [0])  # refused: call-arg
    step_context(change="large")  # refused: arg-type
    step_context(reduction="none")  # refused: arg-type
    log_ratio(context.old)  # refused: arg-type
    per_row(context.step, context.d)  # refused: arg-type
    context.step.sigma = torch.zeros(1)  # refused: misc
    create("sampler")  # refused: call-arg
    create(kind="sampler", name=3)  # refused: arg-type
    train(config)  # refused: call-arg
    train(config, directory, True)  # refused: call-arg
    train({"backbone": "sd3"}, directory)  # refused: arg-type
    replay(directory, update="last")  # refused: arg-type
    replay(directory, ratio=[3])  # refused: list-item
    Calibration(5)  # refused: call-arg
    Strategy("ratio-norm", weights=[])  # refused: call-arg
    Strategy(["ratio-norm"]).ratio = []  # refused: misc
    Prompt("a cat").text = "a dog"  # refused: misc
    MineOptions().scale = 2.0  # refused: misc
    config.plugins.append("mine")  # refused: attr-defined
    _ = guardcore.no_such_name  # refused: attr-defined
    _ = guardcore.testing.check_everything  # refused: attr-defined


def test_it_keeps_the_contract() -> None:
    check_sampler(MineOptions())  # refused: arg-type
    check_reward(Dozing())  # refused: arg-type
    check_reward(size=64)  # refused: call-arg
    check_window([0, 1])  # refused: arg-type
    check_component("reward")  # refused: call-arg


def why(error: ContractError) -> Callable[[], str]:
    return error.law  # refused: return-value
