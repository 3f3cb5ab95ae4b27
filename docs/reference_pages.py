"""The pages under ``docs/reference/``, written from what they describe."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import typer
from command_line import commands
from pydantic import BaseModel
from rendering import (
    code_list,
    markdown,
    models_in,
    shown,
    signature,
    table,
    type_text,
    word,
)

import guardcore
from guardcore import components, hookspecs, testing
from guardcore.config import RunConfig
from guardcore.kinds import KINDS, OBSERVATION_HOOKS, registration_hook
from guardcore.registry import BUILTIN, Registered, Registry
from guardcore.spec import Strategy
from guardcore.watch import Alarm, Trend

CONFIG_KEYS = {
    "prompt_source": "prompts.train, prompts.eval",
    "sampler": "sampler, evaluate.sampler",
    "window": "rollout.train_steps",
    "ratio_transform": "ratio",
}
"""Where a kind is named in the config, where it isn't under its own name."""


class Pages:
    """Collects what lacks a description while pages are written."""

    def __init__(self) -> None:
        self.missing: list[str] = []

    def told(self, what: str, text: str | None) -> str:
        """Return a description as Markdown; note ``what`` where there is none."""
        if not (text or "").strip():
            self.missing.append(what)
        return markdown(inspect.cleandoc(text or ""))

    def hooks(self, specs: ModuleType | type = hookspecs, contracts: Any = components) -> str:
        """Every hook with what its components must be."""
        parts = ["# Hooks\n", self.told("the module hookspecs", specs.__doc__)]
        parts.append(self.contract(hookspecs.Registrar))
        for kind in KINDS:
            hook = getattr(specs, registration_hook(kind))
            key = CONFIG_KEYS.get(kind, kind)
            text = self.told(f"hook {hook.__name__}", hook.__doc__)
            parts += [f"## `{hook.__name__}(register)`\n", text]
            parts.append(f"Config: {code_list(key)}. Built in: [{kind}](components.md#{kind}).\n")
            name = "".join(word.capitalize() for word in kind.split("_"))
            contract = Strategy if kind == "strategy" else getattr(contracts, name)
            parts.append(self.contract(contract))
        for name in OBSERVATION_HOOKS:
            hook = getattr(specs, name)
            arguments = ", ".join(inspect.signature(hook).parameters)
            parts += [f"## `{name}({arguments})`\n", self.told(f"hook {name}", hook.__doc__)]
        parts.append(self.contract(Alarm))
        parts.append(self.contract(Trend))
        return "\n".join(parts)

    def contract(self, contract: type) -> str:
        """One class: its docstring, and each method with its signature."""
        parts = [f"### `{contract.__name__}`\n", self.told(contract.__name__, contract.__doc__)]
        for name, member in vars(contract).items():
            special = name.startswith("_") and name not in ("__call__", "__len__", "__getitem__")
            if special or not inspect.isfunction(member):
                continue
            parts.append(f"```python\n{signature(name, member)}\n```\n")
            if name not in ("__len__", "__getitem__"):  # a sequence's own
                parts.append(self.told(f"{contract.__name__}.{name}", member.__doc__))
        return "\n".join(parts)

    def components(self, registry: Registry) -> str:
        """Every built-in component with its options."""
        parts = [
            "# Components\n",
            "Everything that ships with GuardCore, by kind, in the order of a run. "
            "`guardcore plugins list` shows what other packages have added to it.\n",
        ]
        for kind in KINDS:
            entries = [e for e in registry.of_kind(kind) if e.origin.distribution == BUILTIN]
            parts.append(f"## {kind.replace('_', ' ').capitalize()} {{#{kind}}}\n")
            for entry in entries:
                parts += [f"### `{entry.name}` {{#{kind}-{entry.name}}}\n", self.component(entry)]
        return "\n".join(parts)

    def component(self, entry: Registered) -> str:
        """One component: what it does, and its options."""
        who = f"{entry.kind} {entry.name}"
        if isinstance(entry.factory, Strategy):
            words = {"ratio": entry.factory.ratio, "gradient_weight": entry.factory.gradient_weight}
            said = [f"{key}: {', '.join(map(word, given)) or '–'}" for key, given in words.items()]
            if entry.factory.samplers:
                said.append(f"made for: {code_list(', '.join(entry.factory.samplers))}")
            text = self.told(who, entry.description)
            return text + "\n" + "\n".join(f"- {line}" for line in said) + "\n"
        text = self.told(who, inspect.getdoc(entry.factory))
        rows = list(self.fields(entry.options, f"{who}: option "))
        return f"{text}\n{table('option', rows) if rows else 'No options.'}\n"

    def config(self, model: type[BaseModel] = RunConfig) -> str:
        """Every key of a run's config."""
        rows = list(self.fields(model, "config key "))
        sections: dict[str, list[list[str]]] = {}
        for row in rows:
            head, _, rest = row[0].partition(".")
            sections.setdefault(head if rest else "", []).append(row)
        parts = [
            "# Config\n",
            "One YAML file; whatever it leaves out has the default below. `guardcore config show` "
            "prints a config with every default filled in, `guardcore config check` every mistake "
            "in it at once, and `guardcore config schema` the JSON schema for an editor.\n",
            "A *component* is a name (`cps`) or a mapping (`{use: cps, noise_level: 0.8}`); its "
            "options are in [Components](components.md). Rewards and penalties take a `weight` "
            "as well.\n",
        ]
        for head, group in sections.items():
            parts.append(f"## {f'`{head}`' if head else 'Top level'}\n\n{table('key', group)}")
        return "\n".join(parts)

    def fields(self, model: type[BaseModel], who: str, path: str = "") -> Iterator[list[str]]:
        """Yield key, type, default and description of each field, nested models' after it."""
        schema = model.model_json_schema(by_alias=True)
        definitions = schema.get("$defs", {})
        for name, field in model.model_fields.items():
            key = field.alias or name
            node = schema["properties"][key]
            text = self.told(f"{who}{path}{key}", field.description)
            default = "*required*" if field.is_required() else shown(field.get_default())
            yield [f"{path}{key}", type_text(node, definitions), default, " ".join(text.split())]
            for nested in models_in(field.annotation):
                yield from self.fields(nested, who, f"{path}{key}.")

    def cli(self, app: typer.Typer) -> str:
        """Every command with its arguments and options."""
        parts = [
            "# Command line\n",
            "A component on the command line is `name` or `name:option=value,option=value`; values "
            "are YAML scalars. A mistake that a user can mend is one line and exit code 2.\n",
        ]
        for command in commands(app, "guardcore"):
            text = self.told(f"command {command.path}", command.help)
            parts.append(f"## {command.path}\n\n```text\n{command.usage}\n```\n\n{text}")
            rows = [
                [
                    p.label,
                    p.kind,
                    p.default,
                    self.told(f"{command.path}: {p.label}", p.help).strip(),
                ]
                for p in command.parameters
            ]
            parts += [table("parameter", rows)] if rows else []
        return "\n".join(parts)

    def names(self, module: ModuleType = guardcore, kit: ModuleType = testing) -> str:
        """Every name that ``guardcore`` and ``guardcore.testing`` export."""
        told = {name for name, value in vars(components).items() if is_contract(value)}
        told |= {"RunConfig", "Strategy", "Registrar", "hookimpl"}
        return "\n".join(
            [
                "# Public names\n",
                "What `guardcore` exports, beside the contracts under [Hooks](hooks.md) and "
                "`RunConfig`, whose fields are under [Config](config.md); then what "
                "[`guardcore.testing`](#guardcoretesting) does.\n",
                *(
                    part
                    for name in module.__all__
                    if name not in told
                    for part in self.name(module, name)
                ),
                "## `guardcore.testing`\n",
                "The [contract kit](../contract-kit.md).\n",
                *(part for name in kit.__all__ for part in self.name(kit, name, "###")),
            ]
        )

    def name(self, module: ModuleType, name: str, heading: str = "##") -> Iterator[str]:
        """Yield one exported name, and its members where it is a class."""
        value = getattr(module, name)
        text = self.told(f"{module.__name__}.{name}", value.__doc__)
        call = signature(name, value) if callable(value) else name
        head = f"\n```python\n{call}\n```\n" if call.partition("(")[2] else ""
        yield f"{heading} `{name}`\n{head}\n{text}"
        if inspect.isclass(value):
            yield from self.members(name, value)

    def members(self, name: str, owner: type) -> Iterator[str]:
        """Yield a class's public methods and properties that are its own."""
        for label, member in vars(owner).items():
            getter = getattr(member, "fget", None) or getattr(member, "func", None)
            function = getter or getattr(member, "__func__", member)
            if label.startswith("_") or not inspect.isfunction(function):
                continue
            head = label if getter else signature(label, function)
            text = self.told(f"guardcore.{name}.{label}", function.__doc__)
            lines = [f"    {line}" if line else "" for line in text.strip().split("\n")]
            yield f"`{name}.{head}`\n:   " + "\n".join(lines).strip() + "\n"


def is_contract(value: object) -> bool:
    """Whether a name of ``guardcore.components`` is defined there."""
    return inspect.isclass(value) and value.__module__ == components.__name__
