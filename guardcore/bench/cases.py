"""Which rewards ``bench`` times: those of a config, and those that are named beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guardcore.bound import Binding, Bound, validate_options
from guardcore.config import RunConfig
from guardcore.errors import ConfigError, GuardcoreError
from guardcore.registry import Registry
from guardcore.reward_options import complete_rewards
from guardcore.spec import Spec, WeightedSpec


@dataclass(frozen=True)
class Case:
    """A reward to time.

    Attributes:
        name: The run's own label of it, or another that is unique.
        bound: Its options.
        prompts: Where the prompts of its images are from; None: the config's ``prompts.train``.
    """

    name: str
    bound: Bound
    prompts: Bound | None = None


@dataclass(frozen=True)
class Further:
    """Rewards to time that a config does not name, and their prompts; None: the config's."""

    rewards: Sequence[WeightedSpec] = ()
    prompts: Spec | None = None


def cases(
    config: RunConfig, binding: Binding, registry: Registry, further: Further | None = None
) -> tuple[Case, ...]:
    """Return the config's rewards, those its ``reward_options`` describe in full, and ``further``.

    None comes twice with the same options.

    Raises:
        GuardcoreError: A further reward or its prompts are unknown, or refuse their options.
    """
    further = further or Further()
    found = [Case(label, bound) for label, bound in binding.rewards.items()]
    for name in binding.reward_options:
        try:
            bound = _bind("reward", WeightedSpec(use=name), config, registry, "reward_options")
        except ConfigError:  # the profile leaves open what a config has to say
            continue
        found += _new(bound, found, None)
    prompts = None
    if further.prompts is not None:
        prompts = _bind("prompt_source", further.prompts, config, registry, "--judge-prompts")
    for spec in further.rewards:
        found += _new(_bind("reward", spec, config, registry, "--judge"), found, prompts)
    return tuple(found)


def _bind(kind: str, spec: Spec, config: RunConfig, registry: Registry, path: str) -> Bound:
    """Find a component and validate its options, a reward's over those of the profile."""
    if isinstance(spec, WeightedSpec):
        alone = config.model_copy(update={"reward": (spec,)})
        (spec,) = complete_rewards(alone, registry).specs
    try:
        entry = registry.find(kind, spec.use)
    except GuardcoreError as error:
        raise GuardcoreError(f"{path}: {error}") from error
    return Bound(path, entry, validate_options(entry, spec.options, f"{path} {spec.use}"))


def _new(bound: Bound, known: Sequence[Case], prompts: Bound | None) -> list[Case]:
    """Return ``bound`` as a case, or nothing where it is known already."""
    same = [case.bound for case in known if case.bound.entry == bound.entry]
    if any(other.options == bound.options for other in same):
        return []
    taken = {case.name for case in known}
    name = next(name for name in _names(bound) if name not in taken)
    return [Case(name, bound, prompts)]


def _names(bound: Bound) -> Iterator[str]:
    """Yield what a case may be called: its name, with its options, with its distribution."""
    given = bound.options.model_dump(mode="json", exclude_unset=True)
    options = ",".join(f"{key}={value}" for key, value in given.items())
    for name in (bound.entry.name, bound.entry.qualified):
        yield name
        if options:
            yield f"{name}:{options}"
