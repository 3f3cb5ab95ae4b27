"""The plugin: what it registers, that it is cheap to import, and what every reward refuses."""

import subprocess
import sys
from typing import get_type_hints

import pytest
import torch
from pydantic import ValidationError

from guardcore import Options, Prompt
from guardcore_plugins.rewards import plugin
from guardcore_plugins.rewards.brisque import Brisque, BrisqueOptions
from guardcore_plugins.rewards.clip_score import ClipScoreOptions
from guardcore_plugins.rewards.geneval import GenEval, GenEvalOptions
from guardcore_plugins.rewards.inputs import as_bytes
from guardcore_plugins.rewards.jpeg_size import JpegSize, JpegSizeOptions
from guardcore_plugins.rewards.ocr import OcrOptions, TextRendering
from guardcore_plugins.rewards.pickscore import PickScoreOptions

HEAVY = {
    *("torch", "numpy", "scipy", "PIL", "transformers", "huggingface_hub"),
    *(
        "rapidocr",
        "rapidocr_onnxruntime",
        "onnxruntime",
        "brisque",
        "skimage",
        "libsvm",
        "cv2",
        "urllib3",
        "fastapi",
        "uvicorn",
    ),
}
REWARDS = [
    GenEval(lambda images: [[]] * len(images)),
    TextRendering(lambda images: [""] * len(images)),
    JpegSize(JpegSizeOptions()),
    Brisque(lambda picture: 20.0),
]


def registered():
    factories = {}
    plugin.guardcore_register_rewards(factories.__setitem__)
    return factories


NAMES = ["geneval", "ocr", "pickscore", "clip-score", "jpeg-size", "brisque", "remote"]


def test_the_rewards_are_registered():
    assert list(registered()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_factory_takes_options_whose_fields_are_described(name):
    hints = get_type_hints(registered()[name])
    hints.pop("return")
    [options] = hints.values()
    assert issubclass(options, Options)
    assert all(field.description for field in options.model_fields.values())
    required = {name for name, field in options.model_fields.items() if field.is_required()}
    assert required == ({"urls"} if name == "remote" else set())


def test_importing_the_plugin_imports_nothing_heavy():
    code = "import sys, guardcore_plugins.rewards.plugin; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


@pytest.mark.parametrize(
    ("options", "value"),
    [
        (GenEvalOptions, {"credit": "half"}),
        (GenEvalOptions, {"detector": "mask3former"}),
        (GenEvalOptions, {"device": "tpu"}),
        (GenEvalOptions, {"batch_size": 0}),
        (GenEvalOptions, {"threshold": 1.0}),
        (OcrOptions, {"threads": 0}),
        (OcrOptions, {"confidence": 1.5}),
        (OcrOptions, {"engine": "tesseract"}),
        (PickScoreOptions, {"model": "neither"}),
        (PickScoreOptions, {"divide_by": 0}),
        (PickScoreOptions, {"dtype": "int8"}),
        (ClipScoreOptions, {"batch_size": 0}),
        (ClipScoreOptions, {"device": "tpu"}),
        (JpegSizeOptions, {"quality": 0}),
        (JpegSizeOptions, {"prefer": "medium"}),
        (JpegSizeOptions, {"kwality": 95}),
        (BrisqueOptions, {"size": 64}),
    ],
)
def test_bad_options_are_refused(options, value):
    with pytest.raises(ValidationError):
        options(**value)


@pytest.mark.parametrize("reward", REWARDS, ids=lambda reward: type(reward).__name__)
@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(3, 8, 8),
        torch.zeros(1, 1, 8, 8),
        torch.zeros(1, 8, 8, 3),
        torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
    ],
    ids=["no batch", "grey", "channels last", "integers"],
)
def test_images_of_another_shape_or_type_are_refused(reward, images):
    with pytest.raises(ValueError, match=r"expected floating-point images \[B, 3, H, W\]"):
        reward(images, [Prompt('"x"')])


@pytest.mark.parametrize("reward", REWARDS, ids=lambda reward: type(reward).__name__)
def test_one_prompt_an_image_is_needed(reward):
    with pytest.raises(ValueError, match="expected one prompt an image, 2, received 1"):
        reward(torch.zeros(2, 3, 8, 8), [Prompt('"x"')])


def test_images_become_bytes_by_rounding_and_clamping():
    values = torch.tensor([-0.1, 0.0, 0.5, 1.0, 1.1, 1 / 255])
    images = values.reshape(1, 1, 1, 6).repeat(1, 3, 1, 1)
    assert as_bytes(images)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255, 1]
