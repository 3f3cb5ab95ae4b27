"""Reading a LoRA's file, whoever named its tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from guardcore import GuardcoreError
from guardcore_plugins.backbones.quiet import first_line
from guardcore_plugins.backbones.source import locate_lora

_PREFIXES = ("base_model.model.", "transformer.")
_METADATA = "lora_adapter_metadata"  # diffusers' key in the file's header
_PEFT_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class LoraFile:
    """A LoRA as stored.

    Attributes:
        path: The file.
        factors: By the layer's name in the transformer, ``….lora_A.weight`` and ``lora_B``.
        alpha: None where nothing says it: diffusers then takes the rank.
    """

    path: Path
    factors: Mapping[str, Tensor]
    alpha: float | None

    @classmethod
    def read(cls, place: Path) -> LoraFile:
        """Read a file, or the one in a directory, in diffusers' or peft's naming.

        Raises:
            GuardcoreError: There is none, or it is damaged.
        """
        path = locate_lora(str(place))
        try:
            if path is None:
                raise FileNotFoundError("no such LoRA")
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            alpha = _alpha(header, path.parent / _PEFT_CONFIG)
        except (OSError, SafetensorError, ValueError) as error:
            raise GuardcoreError(
                f"cannot read a LoRA from {path or place}: {first_line(error)}"
            ) from error
        return cls(path, {_plain(name): tensor for name, tensor in tensors.items()}, alpha)


def _plain(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name.replace(".default.weight", ".weight")


def _alpha(header: Mapping[str, str], peft_config: Path) -> float | None:
    metadata = json.loads(header.get(_METADATA, "{}"))
    stated = metadata.get("transformer.lora_alpha", metadata.get("lora_alpha"))
    if stated is None and peft_config.is_file():
        stated = json.loads(peft_config.read_text(encoding="utf-8")).get("lora_alpha")
    return None if stated is None else float(stated)
