"""The network, and the backbone around it. Imported when one is built."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import interpolate, silu

from guardcore import Condition, GuardcoreError, Outline, Part, Prompt, Schedule

if TYPE_CHECKING:
    from guardcore_small_flow import SmallFlowOptions

WIDTH = 64
PATCH = 8
"""Pixels that one latent becomes, in each direction."""

ADAPTER = "small_flow.safetensors"


class Network(nn.Module):
    """A velocity ``[B, 3, h, w]`` from latents, noise level and words."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.level = nn.Linear(1, WIDTH)
        self.words = nn.Linear(WIDTH, WIDTH)
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.leave = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor, sigma: Tensor, words: Tensor) -> Tensor:
        """Return the velocity at ``x [B, 3, h, w]``, ``sigma [B]``, ``words [B, WIDTH]``."""
        about = self.level(sigma[:, None]) + self.words(words)  # [B, WIDTH]
        hidden = self.enter(x).movedim(1, -1) + about[:, None, None]  # [B, h, w, WIDTH]
        hidden = hidden + self.mix(silu(hidden))
        velocity: Tensor = self.leave(silu(hidden)).movedim(-1, 1)
        return velocity


class SmallFlow:
    """Latents are small images, ``[B, 3, H/8, W/8]``."""

    def __init__(self, options: SmallFlowOptions) -> None:
        self.scale, self.device = options.guidance_scale, torch.device(options.device)
        self.network = _loaded(options.weights).requires_grad_(False)
        adapters = LoraConfig(
            r=options.rank, lora_alpha=options.rank, target_modules=["words", "mix"]
        )
        inject_adapter_in_model(adapters, self.network)
        self.network.eval().to(self.device)
        self.layers = [m for m in self.network.modules() if isinstance(m, BaseTunerLayer)]
        self.adapters = {n: p for n, p in self.network.named_parameters() if p.requires_grad}

    def encode(self, prompts: Sequence[Prompt], height: int, width: int) -> Condition:
        """Return each prompt's words, counted by their checksums, ``[B, WIDTH]``."""
        words = torch.zeros(len(prompts), WIDTH)
        for row, prompt in zip(words, prompts, strict=True):
            for word in prompt.text.lower().split():
                row[zlib.crc32(word.encode()) % WIDTH] += 1
        return Condition({"words": words.to(self.device)}, height, width)

    def schedule(self, steps: int, height: int, width: int) -> Schedule:
        """Return even steps from 1 to 0."""
        return Schedule(torch.linspace(1, 0, steps + 1, device=self.device))

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return the shape of one row of latents."""
        if height % PATCH or width % PATCH:
            raise ValueError(f"sizes are multiples of {PATCH}, received {height}x{width}")
        return (3, height // PATCH, width // PATCH)

    def velocity(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Return the network's velocity, guided where the scale is above 1."""
        words = condition.tensors["words"]
        velocity: Tensor = self.network(x, sigma, words)
        if self.scale > 1:
            free = self.network(x, sigma, torch.zeros_like(words))
            velocity = free + self.scale * (velocity - free)
        return velocity

    @contextlib.contextmanager
    def guidance(self, scale: float) -> Iterator[None]:
        """Inside, guidance has another scale."""
        before, self.scale = self.scale, scale
        try:
            yield
        finally:
            self.scale = before

    def decode(self, x: Tensor, condition: Condition) -> Tensor:
        """Return images ``[B, 3, H, W]`` in [0, 1]."""
        size = (condition.height, condition.width)
        return interpolate(x / 2 + 0.5, size, mode="bilinear").clamp(0, 1)

    def trainable(self) -> Mapping[str, nn.Parameter]:
        """Return the adapters' factors."""
        return self.adapters

    @contextlib.contextmanager
    def reference(self) -> Iterator[None]:
        """Inside, the network without its adapters."""
        self._switch(False)
        try:
            yield
        finally:
            self._switch(True)

    def _switch(self, on: bool) -> None:
        for layer in self.layers:
            layer.enable_adapters(on)

    def save_adapter(self, directory: Path) -> None:
        """Write the adapters."""
        directory.mkdir(parents=True, exist_ok=True)
        factors = {name: p.detach().cpu().contiguous() for name, p in self.adapters.items()}
        save_file(factors, directory / ADAPTER)

    def load_adapter(self, directory: Path) -> None:
        """Read the adapters into the parameters that are there."""
        for name, factor in load_file(directory / ADAPTER).items():
            self.adapters[name].data.copy_(factor)

    def export(self, directory: Path, to: str) -> str:
        """Write the whole network, adapters merged into it; return how it is loaded."""
        if to != "merged":
            raise GuardcoreError(f"small-flow exports to 'merged', received {to!r}")
        for layer in self.layers:
            layer.merge()
        merged = {
            name.replace(".base_layer", ""): tensor.cpu().contiguous()
            for name, tensor in self.network.state_dict().items()
            if "lora_" not in name
        }
        save_file(merged, directory / "network.safetensors")
        for layer in self.layers:
            layer.unmerge()
        return "--backbone small-flow:weights=DIR/network.safetensors"


def _loaded(weights: Path | None) -> Network:
    """Return the network; random weights are the same ones every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network()
    if weights is not None:
        network.load_state_dict(load_file(weights))
    return network


def outline(options: SmallFlowOptions) -> Outline:
    """Return the backbone on the ``meta`` device: shapes, and no memory."""
    with torch.device("meta"):
        backbone = SmallFlow(options.model_copy(update={"weights": None, "device": "meta"}))
    frozen = [p for p in backbone.network.parameters() if not p.requires_grad]
    held = sum(p.numel() * p.element_size() for p in frozen)

    def condition(rows: int, height: int, width: int) -> Condition:
        return Condition({"words": torch.zeros(rows, WIDTH, device="meta")}, height, width)

    return Outline(backbone, {"network": Part(backbone.network, held, "float32")}, condition)
