"""A component's options as a user reads and writes them, from their JSON schema."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from guardcore.options import Options

_WORDS = {"number": "float", "integer": "int", "string": "str", "boolean": "bool"}
_LENGTHS = {
    "minLength": "length ≥",
    "minItems": "length ≥",
    "maxLength": "length ≤",
    "maxItems": "length ≤",
}
_MIRRORED = {"<": ">", "≤": "≥"}


@dataclass(frozen=True)
class OptionField:
    """One option; one that is nested in another is called ``outer.inner``.

    Attributes:
        name: As it is written in a config.
        type: As a user reads it: ``float``, ``"group" | "batch"``, ``list of str``.
        required: Whether it must be given.
        default: As YAML says it; empty where the option is required, or computes it.
        constraints: What the type does not say: ``0 < x ≤ 5``.
        description: Its meaning and unit.
    """

    name: str
    type: str
    required: bool
    default: str
    constraints: str
    description: str


def option_fields(options: type[Options]) -> list[OptionField]:
    """Return every option, each followed by those nested in it."""
    schema = options_schema(options)
    return list(_fields(schema, schema.get("$defs", {}), "", ()))


def options_schema(options: type[Options]) -> dict[str, Any]:
    """Return the JSON schema; a default that JSON cannot say is left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return options.model_json_schema(by_alias=True)


def as_yaml(value: Any) -> str:
    """Return plain data as YAML on one line."""
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _fields(
    node: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str, above: tuple[str, ...]
) -> Iterator[OptionField]:
    for name, given in node.get("properties", {}).items():
        branches = list(_branches(given, definitions))
        nested = [b for b in branches if b.get("properties") and b.get("title") not in above]
        default = as_yaml(given["default"]) if "default" in given else ""
        required = name in node.get("required", ())
        limits = ", ".join(dict.fromkeys(filter(None, map(_limits, branches))))
        words = " | ".join(dict.fromkeys(_word(branch, definitions) for branch in branches))
        text = given.get("description", "")
        yield OptionField(prefix + name, words, required, default, limits, text)
        for branch in nested:
            yield from _fields(
                branch, definitions, f"{prefix}{name}.", (*above, branch.get("title", ""))
            )


def _branches(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the alternatives of a schema node, references followed."""
    if "$ref" in node:
        node = definitions[node["$ref"].rpartition("/")[2]]
    alternatives = node.get("anyOf") or node.get("oneOf")
    for alternative in alternatives or ():
        yield from _branches(alternative, definitions)
    if not alternatives:
        yield dict(node)


def _word(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Return the type of one alternative."""
    if "enum" in node or "const" in node:
        return " | ".join(_quoted(value) for value in node.get("enum", [node.get("const")]))
    if node.get("type") == "array":
        items = node.get("prefixItems") or [node.get("items", {})]
        return "list of " + ", ".join(_grouped(item, definitions) for item in items)
    if node.get("type") == "object":
        return "mapping"
    if node.get("format") in ("path", "file-path", "directory-path"):
        return "path"
    kind = node.get("type", "any")
    return _WORDS.get(kind, str(kind))


def _grouped(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    words = " | ".join(_word(branch, definitions) for branch in _branches(node, definitions))
    return f"({words})" if " | " in words else words


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else as_yaml(value)


def _limits(node: Mapping[str, Any]) -> str:
    """Return the constraints of one alternative, as ``0 < x ≤ 5``."""
    lengths = [
        f"{words} {node[key]}"
        for key, words in _LENGTHS.items()
        if key in node and "prefixItems" not in node
    ]
    multiple = f"multiple of {node['multipleOf']}" if "multipleOf" in node else ""
    pattern = f"matches {node['pattern']}" if "pattern" in node else ""
    return ", ".join(filter(None, [_interval(node), multiple, *lengths, pattern]))


def _interval(node: Mapping[str, Any]) -> str:
    low = _end(node, "minimum", "exclusiveMinimum")
    high = _end(node, "maximum", "exclusiveMaximum")
    if low and high:
        return f"{low[0]} {low[1]} x {high[1]} {high[0]}"
    if low:
        return f"x {_MIRRORED[low[1]]} {low[0]}"
    return f"x {high[1]} {high[0]}" if high else ""


def _end(node: Mapping[str, Any], inclusive: str, exclusive: str) -> tuple[str, str] | None:
    """Return an end of an interval with its sign."""
    for key, sign in ((inclusive, "≤"), (exclusive, "<")):
        if key in node:
            end = node[key]
            return (f"{end:g}" if isinstance(end, float) else str(end)), sign
    return None
