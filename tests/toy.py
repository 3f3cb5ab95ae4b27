"""A solvable model: its data are Gaussian, so the true velocity is known.

With ``x0 ~ N(target, SPREAD²)`` and ``x = (1 − sigma)·x0 + sigma·noise`` the velocity is
``E[noise − x0 | x]``. The trained parameters are the target's channels, and the mean colour of
the images is ``target/2 + 1/2``: a reward that likes a colour has its optimum at a known target.

This module is a plugin like any other; ``toy_host()`` adds it by hand, and the command line's
tests install it as a distribution.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from guardcore import Condition, Options, Prompt, Registrar, Schedule, hookimpl
from guardcore.plugins import PluginHost
from guardcore.registry import Origin

SPREAD = 0.5
ORIGIN = Origin("toy", "1.0", "toy", "toy")


class ToyOptions(Options):
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="precision of the velocity"
    )
    dropout: float = Field(0.0, description="a fault: state between calls")
    nan_gradient_from: int | None = Field(
        None, description="a fault: every gradient is NaN from this velocity with gradient on"
    )


class ToyBackbone:
    def __init__(self, options: ToyOptions) -> None:
        self.options = options
        self.target = nn.Parameter(torch.zeros(3, dtype=torch.float32))
        self._trained = True
        self.scale = 1.0
        self.calls = 0

    def encode(self, prompts: Sequence[Prompt], height: int, width: int) -> Condition:
        lengths = torch.tensor([float(len(prompt.text)) for prompt in prompts])
        return Condition({"length": lengths}, height, width)

    def schedule(self, steps: int, height: int, width: int) -> Schedule:
        return Schedule(torch.linspace(1, 0, steps + 1))

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        if height % 8 or width % 8:
            raise ValueError(f"sizes are multiples of 8, received {height}x{width}")
        return (3, height // 8, width // 8)

    def velocity(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        target = self.target[None, :, None, None] * (1.0 if self._trained else 0.0) * self.scale
        level = sigma[:, None, None, None]
        away = (x - (1 - level) * target) / ((1 - level) ** 2 * SPREAD**2 + level**2)
        velocity = level * away - (target + (1 - level) * SPREAD**2 * away)
        if self.options.dropout:
            velocity = nn.functional.dropout(velocity, self.options.dropout)
        if torch.is_grad_enabled():
            self.calls += 1
            first = self.options.nan_gradient_from
            if first is not None and self.calls >= first and velocity.requires_grad:
                velocity.register_hook(lambda gradient: gradient * torch.nan)
        return velocity.to(getattr(torch, self.options.dtype))

    def decode(self, x: Tensor, condition: Condition) -> Tensor:
        images = (x / 2 + 0.5).clamp(0, 1)
        return images.repeat_interleave(8, 2).repeat_interleave(8, 3)

    def trainable(self) -> Mapping[str, nn.Parameter]:
        return {"target": self.target}

    @contextlib.contextmanager
    def reference(self) -> Iterator[None]:
        self._trained = False
        try:
            yield
        finally:
            self._trained = True

    @contextlib.contextmanager
    def guidance(self, scale: float) -> Iterator[None]:
        before, self.scale = self.scale, scale
        try:
            yield
        finally:
            self.scale = before

    def save_adapter(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        save_file({"target": self.target.detach()}, directory / "toy.safetensors")

    def load_adapter(self, directory: Path) -> None:
        self.target.data.copy_(load_file(directory / "toy.safetensors")["target"])


class RewardOptions(Options):
    seconds: float = Field(0.0, ge=0, description="a slow judge: seconds a call")
    fault: Literal["none", "nan", "inf", "shape", "type", "raise"] = Field(
        "none", description="how the reward breaks its contract"
    )
    calls: int = Field(0, description="calls that go well before the fault")


class Reward:
    """Judges by ``score``; slow or faulty where the options say so."""

    def __init__(self, options: RewardOptions) -> None:
        self.options = options
        self.called = 0
        self.closed = 0

    def score(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def __call__(self, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        time.sleep(self.options.seconds)
        scores = self.score(images)
        self.called += 1
        if self.called > self.options.calls:
            match self.options.fault:
                case "nan" | "inf":
                    scores[-1] = float(self.options.fault)
                case "shape":
                    scores = scores[:, None]
                case "type":
                    return scores.tolist()  # type: ignore[return-value]
                case "raise":
                    raise RuntimeError("the judge has left the room")
        return scores

    def close(self) -> None:
        self.closed += 1


class Brightness(Reward):
    def score(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3))


class ColourOptions(RewardOptions):
    colour: tuple[float, float, float] = Field(
        (0.6, 0.5, 0.4), description="the mean colour that is liked best"
    )


class Colour(Reward):
    options: ColourOptions

    def score(self, images: Tensor) -> Tensor:
        gap = images.mean((2, 3)) - torch.tensor(self.options.colour)
        return -gap.square().sum(1)


class Constant(Reward):
    def score(self, images: Tensor) -> Tensor:
        return torch.full((len(images),), 0.1)


class WordsOptions(Options):
    size: int = Field(5, description="number of prompts")


def toy(options: ToyOptions) -> ToyBackbone:
    """A solvable backbone."""
    return ToyBackbone(options)


def brightness(options: RewardOptions) -> Brightness:
    """Mean brightness in [0, 1]."""
    return Brightness(options)


def colour(options: ColourOptions) -> Colour:
    """Minus the squared distance of the mean colour from the one liked best."""
    return Colour(options)


def constant(options: RewardOptions) -> Constant:
    """The same for every image."""
    return Constant(options)


def words(options: WordsOptions) -> Sequence[Prompt]:
    """Prompts of different lengths."""
    return [Prompt("w" * (place + 1)) for place in range(options.size)]


@hookimpl
def guardcore_register_backbones(register: Registrar) -> None:
    register("toy", toy)


@hookimpl
def guardcore_register_rewards(register: Registrar) -> None:
    register("brightness", brightness)
    register("colour", colour)
    register("constant", constant)


@hookimpl
def guardcore_register_prompt_sources(register: Registrar) -> None:
    register("words", words)


def toy_host(**factories: tuple[str, object]) -> PluginHost:
    """Return a host with the installed plugins, the toy ones and those of one test.

    ``toy_host(mine=("ratio_transforms", factory))`` registers ``factory`` as ``mine``.
    """
    import toy as this_module

    host = PluginHost.discover()
    host.add(this_module, ORIGIN)
    for name, (kinds, factory) in factories.items():
        host.add(_plugin(name.replace("_", "-"), kinds, factory), Origin("test", "1", name, "test"))
    return host


def _plugin(name: str, kinds: str, factory: object) -> object:
    def hook(self: object, register: Registrar) -> None:
        register(name, factory)  # type: ignore[arg-type]

    hook_name = f"guardcore_register_{kinds}"
    hook.__name__ = hook_name
    return type("Plugin", (), {hook_name: hookimpl(hook)})()


def toy_tree(**sections: object) -> dict[str, object]:
    """Return a config tree of a run that takes well under a second."""
    tree: dict[str, object] = {
        "backbone": "toy",
        "reward": ["brightness"],
        "prompts": {"train": "words", "eval": "words"},
        "rollout": {
            "num_inference_steps": 4,
            "height": 16,
            "width": 16,
            "groups": 3,
            "group_size": 5,
            "batch_size": 4,
        },
        "train": {"iterations": 3, "learning_rate": 0.02, "ema_every": 1},
        "evaluate": {"every": 2, "num_inference_steps": 4, "grid": 4},
        "checkpoint": {},
        "tracker": [],
    }
    for name, section in sections.items():
        base = tree.get(name)
        merged = (
            {**base, **section} if isinstance(base, dict) and isinstance(section, dict) else section
        )
        tree[name] = merged
    return tree
