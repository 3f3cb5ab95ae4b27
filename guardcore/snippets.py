"""How a component is written with all its defaults: in a config, and on the command line.

A required option stands as ``<name>``, to be filled in.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from guardcore.errors import GuardcoreError
from guardcore.option_fields import as_yaml, options_schema
from guardcore.registry import Registered, Registry
from guardcore.spec import Spec, SpecLike, Strategy

_FLAGS = {
    "backbone": "--backbone",
    "sampler": "--sampler",
    "reward": "--reward",
    "ratio_transform": "--ratio",
    "gradient_weight": "--gradient-weight",
}
"""Kinds with an option of their own; the others are given with ``--set``."""

_MANY = frozenset({"reward", "ratio_transform", "gradient_weight", "penalty", "tracker"})
_WEIGHTED = frozenset({"reward", "penalty"})


def config_block(entry: Registered, registry: Registry) -> str:
    """Return the YAML that names a component in a config, ready to be pasted."""
    return _dumped(_in_config(entry.kind, _spec(entry, registry)))


def spelled_out(strategy: Strategy, registry: Registry) -> str:
    """Return the YAML that says a strategy's words one by one, in place of its name."""
    words: dict[str, tuple[str, Sequence[SpecLike]]] = {
        "ratio": ("ratio_transform", strategy.ratio),
        "gradient_weight": ("gradient_weight", strategy.gradient_weight),
    }
    return _dumped(
        {
            key: [_whole(kind, Spec.model_validate(word), registry) for word in given]
            for key, (kind, given) in words.items()
        }
    )


def command_line(entry: Registered, registry: Registry) -> str:
    """Return the arguments of ``guardcore train`` that name a component.

    Lists and mappings have no place in ``name:option=value``; they keep their defaults there.
    """
    spec = _spec(entry, registry)
    if entry.kind == "strategy":
        return f"--strategy {spec['use']}"
    if entry.kind in _FLAGS:
        return f"{_FLAGS[entry.kind]} {shlex.quote(_short_form(spec))}"
    ((key, value),) = _in_config(entry.kind, spec).items()
    if entry.kind == "prompt_source":
        key, value = "prompts.train", spec
    if entry.kind == "window":
        key, value = "rollout.train_steps", spec
    return f"--set {shlex.quote(f'{key}={as_yaml(value)}')}"


def name_in_config(entry: Registered, registry: Registry) -> str:
    """Return the short name, or the qualified one where the short one means something else."""
    try:
        found = registry.find(entry.kind, entry.name)
    except GuardcoreError:
        return entry.qualified
    return entry.name if found == entry else entry.qualified


def _spec(entry: Registered, registry: Registry) -> dict[str, Any]:
    schema = options_schema(entry.options)
    required = schema.get("required", ())
    values = {
        name: f"<{name}>" if name in required else field["default"]
        for name, field in schema.get("properties", {}).items()
        if name in required or "default" in field
    }
    weight = {"weight": 1.0} if entry.kind in _WEIGHTED else {}
    return {"use": name_in_config(entry, registry), **weight, **values}


def _in_config(kind: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec at its kind's place in the config."""
    if kind == "strategy":
        return {"strategy": spec["use"]}
    if kind == "prompt_source":
        return {"prompts": {"train": spec}}
    if kind == "window":
        return {"rollout": {"train_steps": spec}}
    key = "ratio" if kind == "ratio_transform" else kind
    return {key: [spec] if kind in _MANY else spec}


def _whole(kind: str, word: Spec, registry: Registry) -> dict[str, Any]:
    """Return a strategy's word with its other options at their defaults."""
    try:
        entry = registry.find(kind, word.use)
    except GuardcoreError:
        return word.model_dump()
    return {**_spec(entry, registry), **word.model_dump()}


def _short_form(spec: Mapping[str, Any]) -> str:
    """Return ``name:option=value,option=value``."""
    options = [
        f"{name}={as_yaml(value) if value != '' else ''}"
        for name, value in spec.items()
        if name != "use" and not isinstance(value, list | dict) and "," not in str(value)
    ]
    return f"{spec['use']}:{','.join(options)}" if options else str(spec["use"])


def _dumped(tree: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(tree), sort_keys=False, allow_unicode=True)
