"""Where a backbone's model lies: in the wheel, in a directory or on the hub.

Imports nothing heavy, so that a wrong ``backbone.model`` is told with every other config error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

EMBEDDED = {"tiny-sd3": ("tiny_world", "sd3"), "tiny-flux": ("tiny_world", "flux")}
"""Reserved model names and their directories inside ``guardcore_plugins``."""

LORA_FILES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
"""What diffusers and peft call a LoRA's file in its directory."""

OPTIONAL = {
    "StableDiffusion3Pipeline": (
        "text_encoder_3",
        "tokenizer_3",
        "image_encoder",
        "feature_extractor",
    ),
    "FluxPipeline": ("image_encoder", "feature_extractor"),
}
"""Components that a pipeline runs without. FLUX has no other text tokens than T5's: diffusers can
load it without ``text_encoder_2``, and then encode nothing."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_WEIGHTS = ("*.safetensors", "*.bin")


def locate(model: str) -> Path | None:
    """Return the directory that ``model`` means; None for a hub name (``owner/name``)."""
    if model in EMBEDDED:
        return Path(str(files("guardcore_plugins"))).joinpath(*EMBEDDED[model])
    path = Path(model).expanduser()
    return path if _means_a_path(model, path) else None


def check_model(model: str, pipeline: str) -> None:
    """Check all that can be known of ``model`` without loading it.

    Args:
        model: Directory, hub name or embedded name.
        pipeline: Class name that ``model_index.json`` must hold.

    Raises:
        ValueError: One line with the culprit and the remedy.
    """
    directory = locate(model)
    if directory is not None:
        check_directory(directory, pipeline)
    elif not _HUB_NAME.fullmatch(model):
        raise ValueError(
            f"{model!r} is neither a directory nor a hub name (owner/name); "
            f"embedded models: {', '.join(EMBEDDED)}"
        )


def locate_lora(path: str) -> Path | None:
    """Return the file of a LoRA given by its file or directory; None if there is none."""
    given = Path(path).expanduser()
    candidates = [given, *(given / name for name in LORA_FILES)]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def check_lora(path: str) -> None:
    """Check that a LoRA is where ``path`` says.

    Raises:
        ValueError: One line.
    """
    if locate_lora(path) is None:
        raise ValueError(f"{path} is neither a LoRA file nor a directory with {LORA_FILES[0]}")


def check_directory(directory: Path, pipeline: str) -> None:
    """Check that ``directory`` holds a whole diffusers ``pipeline``.

    Raises:
        ValueError: The first thing that is missing.
    """
    for problem in _problems(directory, pipeline):
        raise ValueError(f"{problem} (expected a {pipeline} directory, as save_pretrained writes)")


def absent_components(directory: Path, names: tuple[str, ...]) -> list[str]:
    """Return those of ``names`` that the pipeline in ``directory`` was saved without."""
    index = _index(directory)
    return [name for name in names if not _is_present(index.get(name))]


def present_components(directory: Path) -> list[str]:
    """Return the components of the pipeline in ``directory``."""
    return [name for name, entry in _index(directory).items() if _is_present(entry)]


def _means_a_path(model: str, path: Path) -> bool:
    """Whether ``model`` is written as a path, or leads through a directory that exists.

    ``runs/modle`` is a misspelt path where ``runs`` exists, and a hub name where it doesn't.
    """
    written = model.startswith((".", "~", "/")) or path.is_absolute() or model.count("/") > 1
    return written or path.exists() or ("/" in model and path.parent.is_dir())


def _problems(directory: Path, pipeline: str) -> Iterator[str]:
    if not directory.is_dir():
        yield f"{directory} is a file" if directory.exists() else f"no directory {directory}"
    elif not (directory / "model_index.json").is_file():
        yield f"{directory} has no model_index.json"
    else:
        yield from _index_problems(directory, pipeline)


def _index_problems(directory: Path, pipeline: str) -> Iterator[str]:
    try:
        index = _index(directory)
    except ValueError as error:
        yield f"{directory / 'model_index.json'} is not a JSON object: {error}"
        return
    if index.get("_class_name") != pipeline:
        yield f"{directory} holds a {index.get('_class_name')}"
    for name, entry in index.items():
        if _is_present(entry):
            yield from _component_problems(directory / name)
        elif isinstance(entry, list) and name not in OPTIONAL[pipeline]:
            yield f"{directory} was saved without {name}, which the pipeline needs"


def _component_problems(folder: Path) -> Iterator[str]:
    if not folder.is_dir():
        yield f"no directory {folder}"
    elif _holds_weights(folder.name) and not any(any(folder.glob(p)) for p in _WEIGHTS):
        yield f"{folder} has no weights ({' or '.join(_WEIGHTS)})"


def _holds_weights(component: str) -> bool:
    return component in ("transformer", "vae") or component.startswith("text_encoder")


def _is_present(entry: object) -> bool:
    """Whether an entry of ``model_index.json``, ``[library, class]``, is a component."""
    return isinstance(entry, list) and bool(entry) and entry[0] is not None


def _index(directory: Path) -> dict[str, object]:
    index = json.loads((directory / "model_index.json").read_text(encoding="utf-8"))
    if not isinstance(index, dict):
        raise ValueError(f"found a {type(index).__name__}")
    return index
