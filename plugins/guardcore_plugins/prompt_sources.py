"""Prompts from files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from guardcore import GuardcoreError, Options, Prompt, Registrar, hookimpl


def _existing_file(path: Path) -> Path:
    path = path.expanduser()
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    return path


class FileOptions(Options):
    """Where the prompts are."""

    path: Annotated[Path, AfterValidator(_existing_file)] = Field(
        description="a UTF-8 text file, relative to the working directory"
    )


def text(options: FileOptions) -> Sequence[Prompt]:
    """A prompt a line; blank lines are left out."""
    return _some([Prompt(line) for _, line in _lines(options.path)], options.path)


def jsonl(options: FileOptions) -> Sequence[Prompt]:
    """A JSON object a line: ``prompt``, and the rest as metadata (GenEval's format)."""
    prompts = [_parse(line, number, options.path) for number, line in _lines(options.path)]
    return _some(prompts, options.path)


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise GuardcoreError(f"{path} is not UTF-8 text: {error}") from error
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def _parse(line: str, number: int, path: Path) -> Prompt:
    try:
        record: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise GuardcoreError(f"{path}:{number}: not JSON: {error}") from error
    if not isinstance(record, dict) or not isinstance(record.get("prompt"), str):
        raise GuardcoreError(f"{path}:{number}: expected an object with a string 'prompt'")
    return Prompt(record["prompt"], {k: v for k, v in record.items() if k != "prompt"})


def _some(prompts: list[Prompt], path: Path) -> list[Prompt]:
    if not prompts:
        raise GuardcoreError(f"{path} holds no prompt; write at least one line into it")
    return prompts


@hookimpl
def guardcore_register_prompt_sources(register: Registrar) -> None:
    """Register the two file formats."""
    register("text", text)
    register("jsonl", jsonl)
