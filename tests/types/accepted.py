"""What a third party would write; mypy --strict must accept every line of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from guardcore import (
    Advantage,
    Backbone,
    Condition,
    GradientWeight,
    GuardcoreError,
    Options,
    Penalty,
    Prompt,
    PromptSource,
    RatioTerms,
    RatioTransform,
    Registrar,
    Reward,
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
    log_prob,
    log_ratio,
    ode_step,
    per_row,
    promote,
    reduce_latents,
    surrogate,
    train,
)


class TemperOptions(Options):
    power: float = Field(0.5, gt=0, description="exponent on std; no unit")


def temper(options: TemperOptions) -> Callable[[RatioTerms, StepContext], RatioTerms]:
    """A word as a function."""

    def transform(terms: RatioTerms, context: StepContext) -> RatioTerms:
        scale = promote(context.old.std) ** options.power
        return replace(terms, log_ratio=scale * (terms.log_ratio + context.bias))

    return transform


@dataclass(frozen=True)
class Squash:
    """A word as a class."""

    options: TemperOptions

    def __call__(self, terms: RatioTerms, context: StepContext) -> RatioTerms:
        return RatioTerms(terms.log_ratio.tanh(), terms.low, terms.high.clamp(max=2.0))


def late(options: Options) -> GradientWeight:
    def weight(context: StepContext) -> Tensor:
        return 1 / (context.step.sigma + context.step.dt)

    return weight


def drift(options: Options) -> Penalty:
    def penalty(context: StepContext) -> Tensor:
        if context.velocity is None or context.reference_velocity is None:
            raise GuardcoreError("needs a velocity")
        return context.reduce((context.velocity - context.reference_velocity) ** 2)

    return penalty


class Brownian:
    def transition(self, velocity: Tensor, x: Tensor, step: Step) -> Transition:
        euler = ode_step(velocity, x, step)
        return Transition(euler.mean, step.dt.sqrt(), euler.velocity_gain)


class Redness:
    def __call__(self, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        wanted = torch.tensor(["red" in prompt.text for prompt in prompts])
        return images[:, 0].mean((1, 2)) * wanted

    def close(self) -> None: ...


def ranked(rewards: Mapping[str, Tensor], groups: Tensor, weights: Mapping[str, float]) -> Tensor:
    total = sum((weights[name] * values for name, values in rewards.items()), torch.zeros(()))
    return total.argsort().argsort() - (len(groups) - 1) / 2


def alternating(options: Options) -> Window:
    def window(iteration: int, steps: int, generator: torch.Generator) -> Sequence[int]:
        return range(iteration % 2 if steps > 1 else 0, steps, 2)

    return window


class Log:
    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...

    def images(self, step: int, name: str, images: Tensor, captions: Sequence[str]) -> None: ...

    def progress(self, phase: str, done: int, total: int) -> None: ...

    def close(self) -> None: ...


class Numbers:
    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Prompt:
        return Prompt(f'the number "{index}"', {"tag": "digits"})


class Tiny:
    def __init__(self, options: Options) -> None:
        self.weight = torch.nn.Parameter(torch.zeros(3))

    def encode(self, prompts: Sequence[Prompt], height: int, width: int) -> Condition:
        return Condition({"text": torch.zeros(len(prompts), 1)}, height, width)

    def schedule(self, steps: int, height: int, width: int) -> Schedule:
        return Schedule(torch.linspace(1, 0, steps + 1))

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        return (3, height // 8, width // 8)

    def velocity(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        return x * per_row(sigma, x) - self.weight[:, None, None]

    def decode(self, x: Tensor, condition: Condition) -> Tensor:
        return x.clamp(0, 1)

    def trainable(self) -> Mapping[str, torch.nn.Parameter]:
        return {"weight": self.weight}

    @contextlib.contextmanager
    def reference(self) -> Iterator[None]:
        yield

    def save_adapter(self, directory: Path) -> None: ...

    def load_adapter(self, directory: Path) -> None: ...


def redness(options: Options) -> Redness:
    return Redness()


@hookimpl
def guardcore_register_ratio_transforms(register: Registrar) -> None:
    register("temper", temper)
    register("squash", Squash)


@hookimpl
def guardcore_register_rewards(register: Registrar) -> None:
    register("redness", redness)


@hookimpl
def guardcore_register_windows(register: Registrar) -> None:
    register("alternating", alternating)


@hookimpl
def guardcore_register_backbones(register: Registrar) -> None:
    register("tiny", Tiny)


@hookimpl
def guardcore_register_strategies(register: Registrar) -> None:
    sentence = Strategy(
        ratio=["temper", {"use": "ppo-clip", "low": 1e-4, "high": 1e-4}],
        gradient_weight=["late"],
        description="ours",
    )
    register("tempered", sentence)


word: RatioTransform = temper(TemperOptions(power=0.25))
another: RatioTransform = Squash(TemperOptions())
sampler: Sampler = Brownian()
window: Window = alternating(Options())
reward: Reward = Redness()
advantage: Advantage = ranked
tracker: Tracker = Log()
source: PromptSource = Numbers()
listed: PromptSource = [Prompt("a cat")]
backbone: Backbone = Tiny(Options())


def by_hand(context: StepContext, values: Tensor) -> Tensor:
    """The public functions, called with what DESIGN says."""
    terms = word(RatioTerms(log_ratio(context)), context)
    clip: RatioTransform = create("ratio_transform", "ppo-clip", low=1e-4, high=1e-4)
    result = surrogate(clip(terms, context), values, torch.ones_like(values))
    density = log_prob(context.x_next, context.new) + log_prob(
        context.x_next, context.new, reduction="sum"
    )
    kept: Tensor = result.loss[~result.clipped]
    return kept.sum() + density + reduce_latents(context.d, "mean")


def run(tree: Mapping[str, object]) -> bool:
    return train(RunConfig.model_validate(tree), Path("run"), resume=True).finished
