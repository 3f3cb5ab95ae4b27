"""A solvable model: its data are Gaussian, so the true velocity is known.

With ``x0 ~ N(target, SPREAD²)`` and ``x = (1 − sigma)·x0 + sigma·noise`` the velocity is
``E[noise − x0 | x]``. The trained parameters are the target's channels: a reward that likes
brightness is climbed by raising them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

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
    dtype: str = Field("float32", description="precision of the velocity")
    dropout: float = Field(0.0, description="a fault: state between calls")


class ToyBackbone:
    def __init__(self, options: ToyOptions) -> None:
        self.options = options
        self.target = nn.Parameter(torch.zeros(3, dtype=torch.float32))
        self._trained = True
        self.scale = 1.0

    def encode(self, prompts: Sequence[Prompt], height: int, width: int) -> Condition:
        lengths = torch.tensor([float(len(prompt.text)) for prompt in prompts])
        return Condition({"length": lengths}, height, width)

    def schedule(self, steps: int, height: int, width: int) -> Schedule:
        return Schedule(torch.linspace(1, 0, steps + 1))

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        return (3, height // 8, width // 8)

    def velocity(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        target = self.target[None, :, None, None] * (1.0 if self._trained else 0.0) * self.scale
        level = sigma[:, None, None, None]
        away = (x - (1 - level) * target) / ((1 - level) ** 2 * SPREAD**2 + level**2)
        velocity = level * away - (target + (1 - level) * SPREAD**2 * away)
        if self.options.dropout:
            velocity = nn.functional.dropout(velocity, self.options.dropout)
        return velocity.to(getattr(torch, self.options.dtype))

    def decode(self, x: Tensor, condition: Condition) -> Tensor:
        return (x / 2 + 0.5).clamp(0, 1)

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


class Brightness:
    def __call__(self, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        return images.mean((1, 2, 3))

    def close(self) -> None:
        pass


class WordsOptions(Options):
    size: int = Field(5, description="number of prompts")


def toy(options: ToyOptions) -> ToyBackbone:
    """A solvable backbone."""
    return ToyBackbone(options)


def brightness(options: Options) -> Brightness:
    """Mean brightness in [0, 1]."""
    return Brightness()


def words(options: WordsOptions) -> Sequence[Prompt]:
    """Prompts of different lengths."""
    return [Prompt("w" * (place + 1)) for place in range(options.size)]


@hookimpl
def guardcore_register_backbones(register: Registrar) -> None:
    register("toy", toy)


@hookimpl
def guardcore_register_rewards(register: Registrar) -> None:
    register("brightness", brightness)


@hookimpl
def guardcore_register_prompt_sources(register: Registrar) -> None:
    register("words", words)


def toy_host() -> PluginHost:
    """Return a host with the installed plugins and the toy ones."""
    import toy as this_module

    host = PluginHost.discover()
    host.add(this_module, ORIGIN)
    return host


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
        "tracker": [],
    }
    for name, section in sections.items():
        base = tree.get(name)
        merged = (
            {**base, **section} if isinstance(base, dict) and isinstance(section, dict) else section
        )
        tree[name] = merged
    return tree
