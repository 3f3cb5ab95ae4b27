"""Tensors inside dataclasses and mappings: what a component is given, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import TypeVar, cast

from torch import Tensor

Tree = TypeVar("Tree")


def tensors(tree: object, path: str = "") -> dict[str, Tensor]:
    """Return every tensor of ``tree`` by its path, ``context.old.std``."""
    if isinstance(tree, Tensor):
        return {path: tree}
    return {
        inner: tensor
        for name, part in _parts(tree).items()
        for inner, tensor in tensors(part, f"{path}.{name}" if path else name).items()
    }


def take(tree: Tree, rows: Sequence[int]) -> Tree:
    """Return ``tree`` with these rows of every tensor in it."""
    if isinstance(tree, Tensor):
        return cast(Tree, tree[list(rows)])
    parts = {name: take(part, rows) for name, part in _parts(tree).items()}
    if isinstance(tree, Mapping):
        return cast(Tree, parts)
    return replace(tree, **parts) if parts else tree  # type: ignore[type-var]


def _parts(tree: object) -> Mapping[str, object]:
    if isinstance(tree, Mapping):
        return tree
    if is_dataclass(tree) and not isinstance(tree, type):
        return {field.name: getattr(tree, field.name) for field in fields(tree)}
    return {}
