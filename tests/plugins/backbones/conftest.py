"""Small random pipelines on disk, and diffusers' own call as the judge."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, FluxPipeline
from torch import Tensor

from guardcore import Prompt, ode_step
from guardcore_plugins.backbones.options import FluxOptions, SD3Options
from guardcore_plugins.backbones.plugin import flux, sd3
from pipelines import flux_pipeline, sd3_pipeline

FLUX = ("flux", "schnell", "tiny-flux")
SHIFTED = {"shift": 3.0}
DYNAMIC = {"use_dynamic_shifting": True, "base_shift": 0.3, "max_shift": 1.9}


@pytest.fixture(scope="session")
def models_on_disk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories of four models.

    SD3: ``clip`` without T5, ``t5`` with it and a dynamic schedule. FLUX: ``flux`` with guidance
    as an input and a dynamic schedule, as dev; ``schnell`` with neither.
    """
    root = tmp_path_factory.mktemp("models")
    models = {
        "clip": sd3_pipeline(with_t5=False, **SHIFTED),
        "t5": sd3_pipeline(with_t5=True, **DYNAMIC),
        "flux": flux_pipeline(guidance=True, **DYNAMIC),
        "schnell": flux_pipeline(guidance=False),
    }
    for name, pipeline in models.items():
        pipeline.save_pretrained(root / name)
    return {name: root / name for name in models}


@pytest.fixture
def make(models_on_disk: dict[str, Path]) -> Callable[..., Any]:
    """Build a backbone through the real factory; adapters start from a fixed seed."""

    def build(model: str = "clip", **options: Any) -> Any:
        options = {"device": "cpu", "max_sequence_length": 32} | options
        path = str(models_on_disk.get(model, model))
        torch.manual_seed(0)
        if model in FLUX:
            return flux(FluxOptions(model=path, **options))
        return sd3(SD3Options(model=path, **options))

    return build


@pytest.fixture
def judge(models_on_disk: dict[str, Path]) -> Callable[..., Any]:
    """Load diffusers' own pipeline, independently of the backbone."""

    def load(model: str | Path = "clip", **options: Any) -> Any:
        directory = models_on_disk.get(str(model), model)
        options = dict.fromkeys(_absent(Path(directory))) | options
        pipeline = DiffusionPipeline.from_pretrained(directory, **options)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return load


def _absent(directory: Path) -> list[str]:
    index = json.loads((directory / "model_index.json").read_text())
    return [name for name, entry in index.items() if entry == [None, None]]


@torch.no_grad()
def sample(
    backbone: Any, texts: Sequence[str], latents: Tensor, height: int, width: int, steps: int = 4
) -> Tensor:
    """An ODE sample through the contract alone; images ``[B, 3, H, W]``."""
    condition = backbone.encode([Prompt(text) for text in texts], height, width)
    schedule = backbone.schedule(steps, height, width)
    x = latents.to(backbone.device)
    for index in range(len(schedule)):
        step = schedule.step(index, len(x))
        x = ode_step(backbone.velocity(x, step.sigma, condition), x, step).mean
    return backbone.decode(x, condition)


@pytest.fixture(name="sample")
def sample_fixture() -> Callable[..., Tensor]:
    return sample


@pytest.fixture
def judged() -> Callable[..., Tensor]:
    """Draw the same by diffusers' own call."""

    def draw(
        pipeline: Any,
        texts: Sequence[str],
        latents: Tensor,
        height: int,
        width: int,
        **options: Any,
    ) -> Tensor:
        defaults = {
            "num_inference_steps": 4,
            "max_sequence_length": 32,
            "output_type": "pt",
            "guidance_scale": 3.5 if isinstance(pipeline, FluxPipeline) else 4.5,  # our defaults
        }
        images: Tensor = pipeline(
            prompt=list(texts),
            latents=latents.clone(),
            height=height,
            width=width,
            **defaults | options,
        ).images
        return images

    return draw


@pytest.fixture
def noise() -> Callable[..., Tensor]:
    """Start latents of a backbone from a seed."""

    def draw(backbone: Any, rows: int, height: int, width: int, seed: int = 1) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(rows, *backbone.latent_shape(height, width), generator=generator)

    return draw


@pytest.fixture
def perturb() -> Callable[[Any], None]:
    """Move what is trained away from its start, as training would."""

    @torch.no_grad()
    def move(backbone: Any) -> None:
        generator = torch.Generator().manual_seed(3)
        for parameter in backbone.trainable().values():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator).to(parameter)

    return move
