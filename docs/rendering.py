"""From docstrings, signatures and schemas to Markdown, for ``generate.py``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from guardcore.spec import Spec

_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):")
_ENTRY = re.compile(r"    (\*{0,2}\w[\w.]*): (.*)")
_BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minItems": "({} or more)",
}


def markdown(docstring: str) -> str:
    """Return a docstring in Google's style as Markdown."""
    text = re.sub(r"``(.+?)``", r"`\1`", docstring, flags=re.DOTALL)
    lines: list[str] = []
    literal = section = False
    for line in text.split("\n"):
        indented = line.startswith("    ")
        if literal and line and not indented:
            lines, literal = [*_without_blanks(lines), "```", ""], False
        if _SECTION.fullmatch(line):
            section = True
            lines += [f"**{line[:-1]}**", ""]
        elif section and (entry := _ENTRY.fullmatch(line)):
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        elif section and indented:
            lines.append("  " + line.strip())
        elif line.startswith(">>> "):
            lines += ["```python", line, "```"]
        elif line.endswith("::"):
            lines, literal = [*lines, line[:-1], "", "```python"], True
        elif literal and lines[-1] == "```python" and not line:
            continue
        else:
            section = section and not line
            lines.append(line[4:] if literal else line)
    return "\n".join(_without_blanks(lines)) + ("\n```\n" if literal else "\n")


def _without_blanks(lines: list[str]) -> list[str]:
    """Return the lines without empty ones at the end."""
    while lines and not lines[-1]:
        lines = lines[:-1]
    return lines


def table(head: str, rows: Sequence[Sequence[str]]) -> str:
    """Return a table of name, type, default and description."""
    lines = [f"| {head} | type | default | what it is |", "|---|---|---|---|"]
    for name, kind, default, text in rows:
        lines.append(f"| `{name}` | {_cell(kind)} | {_cell(default)} | {_cell(text)} |")
    return "\n".join(lines) + "\n"


def code_list(names: str) -> str:
    """Return comma-separated names as code."""
    return ", ".join(f"`{name.strip()}`" for name in names.split(","))


def word(spec: Any) -> str:
    """Return a component spec as it is written on the command line."""
    given = Spec.model_validate(spec)
    options = ",".join(f"{key}={shown_value(value)}" for key, value in given.options.items())
    return f"`{given.use}:{options}`" if options else f"`{given.use}`"


def signature(name: str, member: Any) -> str:
    """Return a call as Python source, one argument a line where it is long."""
    try:
        text = str(inspect.signature(member))
    except (TypeError, ValueError):
        return name
    text = re.sub(r"(?<![\w.])self, ?|\(self\)", lambda m: "()" if m[0] == "(self)" else "", text)
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", text).replace("typing.", "")
    return f"{name}{text}" if len(name + text) <= 88 else _broken(name, text)


def _broken(name: str, text: str) -> str:
    inner, _, result = text[1:].rpartition(")")
    pieces, depth, start = [], 0, 0
    for place, character in enumerate(inner):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            pieces.append(inner[start:place].strip())
            start = place + 1
    pieces.append(inner[start:].strip())
    return f"{name}(\n" + "".join(f"    {piece},\n" for piece in pieces) + f"){result}"


def type_text(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Return a JSON schema's type in words."""
    if "anyOf" in node or "oneOf" in node:
        return " or ".join(type_text(n, definitions) for n in node.get("anyOf", node.get("oneOf")))
    if "enum" in node:
        return " or ".join(f"`{value}`" for value in node["enum"])
    if "const" in node:
        return f"`{node['const']}`"
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        if name.endswith("Spec"):
            return "component"
        target = definitions[name]
        return type_text(target, definitions) if "enum" in target else "mapping"
    return _plain_type(node, definitions)


def _plain_type(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    kind = str(node.get("type", "anything"))
    if kind == "array" and node.get("items"):
        inner, _, bounds = type_text(node["items"], definitions).partition(" ")
        plural = f"{inner}s" if inner.isalpha() else inner
        kind = f"list of {plural} {bounds}".rstrip()
    kind = {"object": "mapping", "string": "text", "boolean": "`true` or `false`"}.get(kind, kind)
    bounds = " and ".join(form.format(node[key]) for key, form in _BOUNDS.items() if key in node)
    return f"{kind} {bounds}".rstrip().replace(str(2**63), "2^63")


def shown(default: Any) -> str:
    """Return a default as YAML would have it; a section's is its keys' own."""
    if isinstance(default, Spec):
        return f"`{default.use}`"
    if isinstance(default, BaseModel):
        return "see below"
    return f"`{shown_value(default)}`"


def shown_value(value: Any) -> str:
    """Return one value as YAML."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown_value, value))}]"
    if isinstance(value, Spec):
        return value.use
    if isinstance(value, float):
        short = f"{value:.0e}"
        exact = 0 < value < 1e-3 and float(short) == value
        return short.replace("e-0", "e-") if exact else f"{value:g}"
    return "''" if value == "" else str(value)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in an annotation whose fields are keys of their own."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not issubclass(annotation, Spec):
            yield annotation
        return
    for part in get_args(annotation):
        yield from models_in(part)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
