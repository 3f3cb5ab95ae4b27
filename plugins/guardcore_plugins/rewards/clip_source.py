"""Where a CLIP lies: in the wheel, in a directory or on the hub. Imports nothing heavy.

Only safetensors are read: a pickled checkpoint runs whatever its author put into it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from guardcore import GuardcoreError
from guardcore_plugins.backbones import source
from guardcore_plugins.backbones.quiet import first_line

EMBEDDED = {"tiny-preference": ("tiny_world", "preference")}
"""Reserved model names and their directories inside ``guardcore_plugins``."""

MODEL_FILES = ("*.json", "*.txt", "model*.safetensors")
PROCESSOR_FILES = ("*.json", "*.txt")
"""What of a hub repository is fetched."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_PREPROCESSING = ("preprocessor_config.json", "processor_config.json")
_TOKENIZERS = ("tokenizer.json", "vocab.json")


def locate(name: str) -> Path | None:
    """Return the directory that ``name`` means; None for a hub name (``owner/name``)."""
    if name in EMBEDDED:
        return Path(str(files("guardcore_plugins"))).joinpath(*EMBEDDED[name])
    return source.locate(name)


def check_model(name: str) -> None:
    """Check all that can be known of a model without loading it.

    Raises:
        ValueError: One line with the culprit and the remedy.
    """
    directory = locate(name)
    if directory is None:
        _check_hub_name(name)
    else:
        check_model_directory(directory)


def check_processor(name: str) -> None:
    """Check all that can be known of tokenizer and preprocessing without loading them.

    Raises:
        ValueError: One line with the culprit and the remedy.
    """
    directory = locate(name)
    if directory is None:
        _check_hub_name(name)
    else:
        check_processor_directory(directory)


def check_model_directory(directory: Path) -> None:
    """Refuse anything but a ``CLIPModel`` in safetensors.

    Raises:
        ValueError: The first thing that is wrong.
    """
    kind = _config(directory).get("model_type")
    if kind != "clip":
        raise ValueError(f"{directory} holds a {kind!r}, expected a CLIPModel ('clip')")
    if any(directory.glob("model*.safetensors")):
        return
    pickled = next(iter(sorted(directory.glob("*.bin"))), None)
    if pickled is None:
        raise ValueError(f"{directory} has no model.safetensors (expected a CLIPModel's directory)")
    raise ValueError(
        f"{directory} has its weights in {pickled.name}, a pickle, which is never loaded; have "
        "CLIPModel.save_pretrained write model.safetensors"
    )


def check_processor_directory(directory: Path) -> None:
    """Refuse a directory without a tokenizer and a preprocessing.

    Raises:
        ValueError: The first thing that is missing.
    """
    _check_is_directory(directory)
    for names in (_PREPROCESSING, _TOKENIZERS):
        if not any((directory / name).is_file() for name in names):
            raise ValueError(
                f"{directory} has no {' or '.join(names)} (expected a CLIP processor, as "
                "CLIPProcessor.save_pretrained writes)"
            )


def holds_processor(directory: Path) -> bool:
    """Whether a directory has a tokenizer and a preprocessing."""
    try:
        check_processor_directory(directory)
    except ValueError:
        return False
    return True


def fetch(name: str, patterns: Sequence[str]) -> Path:
    """Return the directory of ``name``; a hub repository goes into the hub's cache first.

    Raises:
        GuardcoreError: The hub refuses (gated, unknown name) or can't be reached.
    """
    directory = locate(name)
    if directory is not None:
        return directory
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except Exception as error:  # OSError, httpx' and the hub client's own families
        raise GuardcoreError(
            f"cannot fetch {name!r} from the hub ({first_line(error)}); {_remedy(name, error)}, "
            "or give a local directory"
        ) from error


def _remedy(name: str, error: Exception) -> str:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return f"accept its licence at https://huggingface.co/{name} and run `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return "check the name; if it is private, run `hf auth login`"
    return "check the network"


def _check_hub_name(name: str) -> None:
    if not _HUB_NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is neither a directory nor a hub name (owner/name); "
            f"embedded: {', '.join(EMBEDDED)}"
        )


def _check_is_directory(directory: Path) -> None:
    if not directory.is_dir():
        raise ValueError(
            f"{directory} is a file" if directory.exists() else f"no directory {directory}"
        )


def _config(directory: Path) -> dict[str, object]:
    _check_is_directory(directory)
    path = directory / "config.json"
    if not path.is_file():
        raise ValueError(f"{directory} has no config.json (expected a CLIPModel's directory)")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    return config if isinstance(config, dict) else {}
