"""Layers of a config: files over each other, then the command line over all.

Precedence: first config < next config < ``--strategy`` < ``--ratio``/``--gradient-weight`` <
``--set``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from guardcore.config import RunConfig, with_strategy
from guardcore.errors import ConfigError, GuardcoreError, printable
from guardcore.problems import problem_lines

# PyYAML lets others through: a date 2024-13-45 is a ValueError, `!!bool maybe` a KeyError, …
_NOT_YAML = (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Overrides:
    """What the command line says, as it was typed; a component is ``name:option=value,…``."""

    strategy: str | None = None
    backbone: str | None = None
    sampler: str | None = None
    ratio: Sequence[str] = ()
    gradient_weight: Sequence[str] = ()
    reward: Sequence[str] = ()
    assignments: Sequence[str] = ()

    def __bool__(self) -> bool:
        return self != Overrides()

    def over(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``tree`` with the overrides laid over it."""
        result = with_strategy(tree)
        if self.strategy is not None:
            result.update(strategy=self.strategy, ratio=None, gradient_weight=None)
        for key in ("backbone", "sampler"):
            if (text := getattr(self, key)) is not None:
                result[key] = parse_component(text)
        for key in ("ratio", "gradient_weight", "reward"):
            if texts := getattr(self, key):
                result[key] = [parse_component(text) for text in texts]
        for assignment in self.assignments:
            result = assign(result, assignment)
        return result


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a config file.

    Raises:
        GuardcoreError: It is missing, not YAML, or not a mapping.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GuardcoreError(f"cannot read the config {path}: {error.strerror}") from error
    except (*_NOT_YAML, UnicodeDecodeError) as error:
        reason = printable(" ".join(str(error).split()))
        raise GuardcoreError(f"{path} is not YAML: {reason}") from error
    if not isinstance(tree, dict):
        raise GuardcoreError(f"{path} must hold a mapping, received {type(tree).__name__}")
    return tree


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``below`` with ``above`` over it: mappings key by key, everything else as a whole.

    A component that ``above`` exchanges for another (its ``use``) doesn't inherit options.
    """
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            same = value.get("use", old.get("use")) == old.get("use")
            value = laid_over(old, value) if same else value
        result[key] = value
    return result


def parse_config(tree: Mapping[str, Any]) -> RunConfig:
    """Validate a config tree.

    Raises:
        ConfigError: All that is wrong with its keys, types and ranges.
    """
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(problem_lines(error, RunConfig)) from error


def parse_component(text: str) -> dict[str, Any]:
    """Parse ``name`` or ``name:option=value,option=value``; the name may be qualified.

    Split at ':'; the leading parts without '=' (one, or two for ``distribution:name``) are the
    name, the rest rejoined are options, whose values are YAML scalars.

    >>> parse_component("ppo-clip:low=2e-6,high=2e-6")
    {'use': 'ppo-clip', 'low': '2e-6', 'high': '2e-6'}
    """
    parts = text.split(":")
    named = 2 if len(parts) > 1 and "=" not in parts[1] else 1
    name, rest = ":".join(parts[:named]), ":".join(parts[named:])
    if not name:
        raise GuardcoreError(f"{text!r}: expected the name of a component first")
    spec: dict[str, Any] = {"use": name}
    for option in rest.split(",") if rest else []:
        key, equals, value = option.partition("=")
        if not (key and equals):
            raise GuardcoreError(
                f"{text!r}: expected name:option=value,option=value, received {option!r}; "
                "a list is given with --set"
            )
        if key in spec:
            raise GuardcoreError(f"{text!r}: {key!r} is given twice")
        spec[key] = _scalar(value, text)
    return spec


def assign(tree: Mapping[str, Any], assignment: str) -> dict[str, Any]:
    """Return ``tree`` with ``path=value`` applied; a path's parts are keys or list positions."""
    path, equals, value = assignment.partition("=")
    if not (path and equals):
        raise GuardcoreError(f"--set {assignment!r}: expected path=value")
    keys, plain = path.split("."), _scalar(value, assignment)
    result: dict[str, Any] = _assign(dict(tree), _defaults(), keys, plain, path)
    return result


def _assign(node: Any, default: Any, keys: Sequence[str], value: Any, path: str) -> Any:
    """Return ``node``, or what stands for it by default, with ``value`` at ``keys``."""
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    node = default if node is None else node
    node = {"use": node} if isinstance(node, str) else node  # a component by name alone
    if isinstance(node, list | tuple):
        if not (key.isascii() and key.isdecimal() and int(key) < len(node)):
            raise GuardcoreError(f"--set {path}: {key!r} is no position in a list of {len(node)}")
        place = int(key)
        return [*node[:place], _assign(node[place], None, rest, value, path), *node[place + 1 :]]
    if not isinstance(node, Mapping | None):
        raise GuardcoreError(f"--set {path}: {key!r} is below a plain value, {node!r}")
    below = default.get(key) if isinstance(default, Mapping) else None
    node = node or {}
    return {**node, key: _assign(node.get(key), below, rest, value, path)}


def _defaults() -> dict[str, Any]:
    """Return the sections that a config may leave out, as plain data."""
    none: Any = RunConfig.model_construct()  # type: ignore[call-arg]  # defaults and no more
    tree: dict[str, Any] = none.model_dump(by_alias=True)
    return tree


def _scalar(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text) if text else ""
    except _NOT_YAML as error:
        raise GuardcoreError(f"{where!r}: {text!r} is not a YAML value") from error
