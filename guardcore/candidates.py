"""The chains that a replay compares: the run's own, strategies by name, and one word by word."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from guardcore.binding import bind
from guardcore.bound import Binding, Bound, validate_options
from guardcore.calibration import CalibratedWord, built_word
from guardcore.config import RunConfig
from guardcore.errors import ConfigError, GuardcoreError
from guardcore.layers import parse_component
from guardcore.objective import Objective
from guardcore.registry import Registry
from guardcore.run import build_objective
from guardcore.spec import Spec

Word = str | Callable[..., Any]
"""A component as the command line writes it, or a function that is one."""

OWN, CHAIN = "run", "chain"


@dataclass(frozen=True)
class Candidate:
    """One chain of ratio transforms with its gradient weights.

    Attributes:
        name: ``run``, ``chain`` or a strategy's name.
        ratio: Its words, as the command line would write them.
        gradient_weight: Likewise.
        objective: What makes the loss; sampler, penalties and reduction are the run's.
    """

    name: str
    ratio: tuple[str, ...]
    gradient_weight: tuple[str, ...]
    objective: Objective


def find_candidates(
    config: RunConfig,
    binding: Binding,
    registry: Registry,
    strategies: Sequence[str],
    ratio: Sequence[Word],
    gradient_weight: Sequence[Word],
) -> tuple[list[Candidate], list[str]]:
    """Return the candidates, the run's own first, and what is to be warned about.

    Raises:
        GuardcoreError: An unknown strategy or word, or options that one refuses.
    """
    objective = build_objective(config, binding)
    own = Candidate(OWN, _labels(binding.ratio), _labels(binding.gradient_weight), objective)
    found, warnings = {OWN: own}, []
    for name in strategies:
        bound = bind(_under(config, name), registry)
        found[name] = _of_binding(name, bound, own)
        warnings += [warning for warning in bound.warnings if warning not in binding.warnings]
    if ratio or gradient_weight:
        found[CHAIN] = _of_words(own, registry, ratio, gradient_weight)
    return list(found.values()), warnings


def _under(config: RunConfig, strategy: str) -> RunConfig:
    words = {"strategy": strategy, "ratio": None, "gradient_weight": None}
    return config.model_copy(update=words)


def _of_binding(name: str, bound: Binding, own: Candidate) -> Candidate:
    ratio, weight = bound.ratio, bound.gradient_weight
    objective = replace(
        own.objective,
        ratio=[(word.entry.qualified, _settled(word)) for word in ratio],
        gradient_weight=[(word.entry.qualified, word.build()) for word in weight],
    )
    return Candidate(name, _labels(ratio), _labels(weight), objective)


def _of_words(
    own: Candidate, registry: Registry, ratio: Sequence[Word], gradient_weight: Sequence[Word]
) -> Candidate:
    """Return the run's own with another chain, other weights, or both."""
    problems: list[str] = []
    result, objective = own, own.objective
    if ratio:
        built = list(_built("ratio_transform", "--ratio", ratio, registry, problems))
        result = replace(result, ratio=tuple(label for label, _ in built))
        objective = replace(objective, ratio=built)
    if gradient_weight:
        built = list(
            _built("gradient_weight", "--gradient-weight", gradient_weight, registry, problems)
        )
        result = replace(result, gradient_weight=tuple(label for label, _ in built))
        objective = replace(objective, gradient_weight=built)
    if problems:
        raise ConfigError(problems)
    return replace(result, name=CHAIN, objective=objective)


def _built(
    kind: str, where: str, words: Sequence[Word], registry: Registry, problems: list[str]
) -> Iterator[tuple[str, Any]]:
    """Yield each word's label and component; what is wrong with one goes to ``problems``."""
    for word in words:
        if not isinstance(word, str):
            yield getattr(word, "__name__", repr(word)), word
            continue
        try:
            spec = Spec.model_validate(parse_component(word))
            entry = registry.find(kind, spec.use)
            bound = Bound(where, entry, validate_options(entry, spec.options, f"{where} {word}"))
            yield _label(bound), _settled(bound)
        except ConfigError as error:
            problems += error.problems
        except GuardcoreError as error:
            problems.append(f"{where}: {error}")


def _settled(bound: Bound) -> Any:
    word = built_word(bound)
    if isinstance(word, CalibratedWord):
        raise GuardcoreError(
            f"{bound.path}: {bound.entry.name} waits for a run's first iterations, which a replay "
            "has not; give it numbers, such as the half-widths that a replay names"
        )
    return word


def _labels(words: Sequence[Bound]) -> tuple[str, ...]:
    return tuple(_label(bound) for bound in words)


def _label(bound: Bound) -> str:
    """Write a component as the command line does, ``ppo-clip:low=0.0002``, without defaults."""
    options = bound.options.model_dump(mode="json", exclude_defaults=True)
    text = ",".join(f"{name}={value}" for name, value in options.items())
    return f"{bound.entry.name}:{text}" if text else bound.entry.name
