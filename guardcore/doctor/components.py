"""Checks on what the plugins registered."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

from guardcore.bound import validate_options
from guardcore.doctor.finding import Finding, Installation, about_plugin
from guardcore.errors import GuardcoreError
from guardcore.option_fields import option_fields
from guardcore.registry import Registered, Registry
from guardcore.spec import Spec, SpecLike, Strategy


def defaults(installation: Installation) -> Iterator[Finding]:
    """Find options that refuse their own defaults."""
    for entry in installation.entries:
        if any(field.is_required() for field in entry.options.model_fields.values()):
            continue
        try:
            validate_options(entry, {}, entry.name)
        except GuardcoreError as error:
            reason = f"its {entry.kind} refuses its own defaults: {error}"
            remedy = "give valid defaults, or none: a required option"
            yield about_plugin("defaults", "failure", entry.origin, reason, remedy)


def schema(installation: Installation) -> Iterator[Finding]:
    """Find options that cannot be written in a config: those without a JSON schema."""
    for entry in installation.entries:
        error = _schema_error(entry)
        if error is not None:
            first = str(error).partition("\n")[0]
            reason = f"the options of {entry.kind} {entry.name!r} have no JSON schema: {first}"
            remedy = "keep to types that YAML can say"
            yield about_plugin("schema", "failure", entry.origin, reason, remedy)


def description(installation: Installation) -> Iterator[Finding]:
    """Find options without a description."""
    for entry in installation.entries:
        if _schema_error(entry) is not None:
            continue
        bare = [field.name for field in option_fields(entry.options) if not field.description]
        if bare:
            reason = f"{entry.kind} {entry.name!r}: no description of {', '.join(bare)}"
            remedy = 'write Field(…, description="meaning, unit")'
            yield about_plugin("description", "warning", entry.origin, reason, remedy)


def docstring(installation: Installation) -> Iterator[Finding]:
    """Find components that do not say what they are."""
    for entry in installation.entries:
        if not entry.description:
            strategy = isinstance(entry.factory, Strategy)
            missing = "description" if strategy else "docstring on its factory"
            reason = f"{entry.kind} {entry.name!r} has no {missing}"
            remedy = "say in one line what it does"
            yield about_plugin("docstring", "warning", entry.origin, reason, remedy)


def strategy(installation: Installation) -> Iterator[Finding]:
    """Find strategies with words that are unknown, or that refuse their options."""
    registry = installation.host.registry
    for entry in installation.entries:
        if isinstance(entry.factory, Strategy):
            for problem in _word_problems(entry.factory, registry):
                reason = f"strategy {entry.name!r}: {problem}"
                remedy = "mend the word, or install the plugin that brings it"
                yield about_plugin("strategy", "failure", entry.origin, reason, remedy)


def _word_problems(sentence: Strategy, registry: Registry) -> Iterator[str]:
    lists: dict[str, Sequence[SpecLike]] = {
        "ratio_transform": sentence.ratio,
        "gradient_weight": sentence.gradient_weight,
    }
    for kind, words in lists.items():
        for spec in map(Spec.model_validate, words):
            try:
                validate_options(registry.find(kind, spec.use), spec.options, spec.use)
            except GuardcoreError as error:
                yield str(error)


def _schema_error(entry: Registered) -> Exception | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a default that JSON cannot say is only left out
            entry.options.model_json_schema()
    except Exception as error:  # a stranger's own types may raise anything
        return error
    return None
