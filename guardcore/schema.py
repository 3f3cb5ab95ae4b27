"""The JSON schema of a config: the tree, with the options of every registered component."""

from __future__ import annotations

from typing import Any

from guardcore.config import RunConfig
from guardcore.registry import Registered, Registry

_PLACES = {
    "backbone": "backbone",
    "sampler": "sampler",
    "advantage": "advantage",
    "ratio": "ratio_transform",
    "gradient_weight": "gradient_weight",
    "reward": "reward",
    "penalty": "penalty",
    "tracker": "tracker",
}
"""Config key → kind."""

_WINDOW_SHORTHANDS: list[dict[str, Any]] = [
    {
        "type": "array",
        "description": "the window `steps`",
        "items": {"type": "integer", "minimum": 0},
        "minItems": 1,
    },
    {
        "type": "object",
        "description": "the window `block`, whose options these are",
        "required": ["size"],
        "not": {"required": ["use"]},
    },
]
"""What names a window without ``use``."""


def config_schema(registry: Registry) -> dict[str, Any]:
    """Return the schema; an editor completes component names and options from it."""
    schema = RunConfig.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    for kind in {*_PLACES.values(), "prompt_source", "window"}:
        entries = registry.of_kind(kind)
        weighted = kind in ("reward", "penalty")
        forms = [form for entry in entries for form in _forms(entry, weighted, definitions)]
        definitions[kind] = {"anyOf": forms}
    for key, kind in _PLACES.items():
        _point_at(schema["properties"][key], kind)
    for split in ("train", "eval"):
        _point_at(definitions["Prompts"]["properties"][split], "prompt_source")
    _point_at(definitions["Evaluate"]["properties"]["sampler"], "sampler")
    _point_at(definitions["Rollout"]["properties"]["train_steps"], "window")
    definitions["window"]["anyOf"] += _WINDOW_SHORTHANDS
    strategies = [n for e in registry.of_kind("strategy") for n in (e.name, e.qualified)]
    schema["properties"]["strategy"]["anyOf"] = [{"enum": strategies}, {"type": "null"}]
    return schema


def _forms(entry: Registered, weighted: bool, definitions: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the ways to write one component: its name, or a mapping with options.

    Models nested in its options go into ``definitions``, under the component's name.
    """
    names = {"enum": [entry.name, entry.qualified]}
    prefix = f"{entry.kind}.{entry.qualified}."
    options = entry.options.model_json_schema(
        by_alias=True, ref_template=f"#/$defs/{prefix}{{model}}"
    )
    for name, nested in options.get("$defs", {}).items():
        definitions[prefix + name] = nested
    properties = {"use": names, **options.get("properties", {})}
    if weighted:
        properties["weight"] = {"type": "number", "description": "coefficient"}
    mapping = {
        "type": "object",
        "description": entry.description,
        "properties": properties,
        "required": ["use", *options.get("required", [])],
        "additionalProperties": False,
    }
    return [mapping] if options.get("required") else [names, mapping]


def _point_at(node: dict[str, Any], kind: str) -> None:
    """Replace a node's reference to a bare spec by one to the kind's definition."""
    for key, value in list(node.items()):
        if key == "$ref" and value.endswith("Spec"):
            node[key] = f"#/$defs/{kind}"
        elif isinstance(value, dict):
            _point_at(value, kind)
        elif key in ("anyOf", "allOf"):
            for part in value:
                _point_at(part, kind)
