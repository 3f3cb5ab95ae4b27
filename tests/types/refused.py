"""What a third party may get wrong; mypy --strict must refuse each line that says so.

``# refused: CODE`` names mypy's error code for the line; every other line must pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor

from guardcore import (
    Advantage,
    Condition,
    GradientWeight,
    Options,
    Prompt,
    PromptSource,
    RatioTerms,
    RatioTransform,
    Registrar,
    Reward,
    Sampler,
    Schedule,
    Step,
    StepContext,
    Strategy,
    Tracker,
    Transition,
    log_prob,
    reduce_latents,
    surrogate,
)


class MineOptions(Options):
    scale: float = Field(1.0, description="no unit")


def returns_a_tensor(terms: RatioTerms, context: StepContext) -> Tensor:
    return terms.log_ratio


def forgets_the_context(terms: RatioTerms) -> RatioTerms:
    return terms


def returns_a_float(context: StepContext) -> float:
    return 1.0


class ReturnsASample:
    def transition(self, velocity: Tensor, x: Tensor, step: Step) -> Tensor:
        return x


class NamedOtherwise:
    def step(self, velocity: Tensor, x: Tensor, step: Step) -> Transition:
        raise NotImplementedError


class NeverCloses:
    def __call__(self, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        return images


class WantsText:
    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return images

    def close(self) -> None: ...


def one_reward(rewards: Tensor, groups: Tensor, weights: Mapping[str, float]) -> Tensor:
    return rewards


class Deaf:
    def close(self) -> None: ...


a: RatioTransform = returns_a_tensor  # refused: assignment
b: RatioTransform = forgets_the_context  # refused: assignment
c: GradientWeight = returns_a_float  # refused: assignment
d: Sampler = ReturnsASample()  # refused: assignment
e: Sampler = NamedOtherwise()  # refused: assignment
f: Reward = NeverCloses()  # refused: assignment
g: Reward = WantsText()  # refused: assignment
h: Advantage = one_reward  # refused: assignment
i: Tracker = Deaf()  # refused: assignment
j: PromptSource = ["a cat"]  # refused: list-item


def misuses(context: StepContext, terms: RatioTerms, register: Registrar) -> None:
    log_prob(context.x_next, context.new, "max")  # refused: arg-type
    reduce_latents(context.d, "none")  # refused: arg-type
    terms.log_ratio = context.bias  # refused: misc
    context.advantage = None  # refused: misc
    _ = context.noise  # refused: attr-defined
    _ = context.reference.mean  # refused: union-attr
    surrogate(terms, context.bias)  # refused: call-arg
    register(3, returns_a_float)  # refused: arg-type
    register("mine", 3)  # refused: arg-type
    MineOptions(sclae=1.0)  # refused: call-arg
    _ = MineOptions().sclae  # refused: attr-defined
    Strategy(ratio=[3])  # refused: list-item
    Condition({"text": [1.0]}, 8, 8)  # refused: dict-item
    Schedule([1.0, 0.0])  # refused: arg-type
    Transition(torch.zeros(1), torch.zeros(1))  # refused: call-arg
    Prompt("a", tag="counting")  # refused: call-arg
