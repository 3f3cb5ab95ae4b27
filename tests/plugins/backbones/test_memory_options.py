"""Options that make no sense together are refused before anything is loaded."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from guardcore_plugins.backbones.options import SD3Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantization": "4bit", "lora": None}, "quantization is for frozen weights"),
        ({"offload": "blocks", "lora": None}, "offload is for frozen weights"),
        ({"offload": "blocks"}, "set gradient_checkpointing: true"),
        (
            {"offload": "blocks", "gradient_checkpointing": True, "quantization": "8bit"},
            "choose one",
        ),
        ({"compile": True, "quantization": "8bit"}, "compile goes neither with"),
        ({"decode_batch": 0}, "greater than or equal to 1"),
        ({"lora": {"start": "no/where"}}, "no/where is neither a LoRA file nor a directory"),
    ],
)
def test_a_senseless_option_is_one_line(options, message):
    with pytest.raises(ValidationError, match=message) as caught:
        SD3Options(model="tiny-sd3", **options)
    assert all("\n" not in error["msg"] for error in caught.value.errors())


@pytest.mark.parametrize(
    "options",
    [
        {"offload": "blocks", "gradient_checkpointing": True, "dtype": "bfloat16"},
        {"quantization": "4bit", "text_encoders": "cache", "dtype": "float16"},
        {"lora": None, "gradient_checkpointing": True, "compile": True},
    ],
)
def test_what_goes_together_is_accepted(options):
    accepted = SD3Options(model="tiny-sd3", **options)
    assert {name: getattr(accepted, name) for name in options} == options
