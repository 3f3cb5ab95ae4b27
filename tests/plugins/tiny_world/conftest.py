from pathlib import Path

import pytest
from diffusers import FluxPipeline, StableDiffusion3Pipeline

from guardcore_plugins.backbones.source import locate


def load(folder: Path) -> StableDiffusion3Pipeline | FluxPipeline:
    """The pipeline in a folder; diffusers wants to be told where there is no T5."""
    if folder.name == "flux":
        pipeline = FluxPipeline.from_pretrained(folder)
    else:
        pipeline = StableDiffusion3Pipeline.from_pretrained(
            folder, text_encoder_3=None, tokenizer_3=None
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="session")
def load_pipeline():
    return load


@pytest.fixture(scope="session", params=["tiny-sd3", "tiny-flux"])
def shipped(request) -> str:
    """The name of an embedded model, which is its profile's, too."""
    return request.param


@pytest.fixture(scope="session")
def pipeline(shipped):
    return load(locate(shipped))
