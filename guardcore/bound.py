"""Components that a config names, found and validated, not yet built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from guardcore.config import RunConfig
from guardcore.errors import ConfigError, GuardcoreError
from guardcore.options import Options
from guardcore.problems import problem_lines
from guardcore.registry import Registered


@dataclass(frozen=True)
class Bound:
    """A component that a config names: found, its options validated, not yet built."""

    path: str
    entry: Registered
    options: Options
    weight: float | None = None

    def build(self) -> Any:
        """Build the component.

        Raises:
            GuardcoreError: With the config path before the factory's own reason.
        """
        try:
            return self.entry.build(self.options)
        except (GuardcoreError, OSError) as error:
            raise GuardcoreError(f"{self.path}: {error}") from error

    def spec(self) -> dict[str, Any]:
        """Return the spec with its qualified name and every option, as plain data."""
        weight = {} if self.weight is None else {"weight": self.weight}
        options = self.options.model_dump(mode="json", by_alias=True)
        return {"use": self.entry.qualified, **weight, **options}


@dataclass(frozen=True)
class Binding:
    """All components of a run.

    ``strategies`` maps the config's names to qualified ones; ``reward_options`` has qualified ones;
    ``plugins`` are the distributions that the config asks for by themselves.
    """

    backbone: Bound
    sampler: Bound
    eval_sampler: Bound
    window: Bound
    advantage: Bound
    rewards: Mapping[str, Bound]
    penalties: Mapping[str, Bound]
    ratio: tuple[Bound, ...]
    gradient_weight: tuple[Bound, ...]
    train_prompts: Bound
    eval_prompts: Bound | None
    trackers: tuple[Bound, ...]
    strategy: Registered | None
    strategies: Mapping[str, str]
    reward_options: Mapping[str, Mapping[str, Any]]
    plugins: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def all(self) -> list[Bound]:
        """Return every component that the run uses."""
        one = [self.backbone, self.sampler, self.eval_sampler, self.window, self.advantage]
        one.append(self.train_prompts)
        many = [*self.rewards.values(), *self.penalties.values(), *self.ratio]
        prompts = [self.eval_prompts] if self.eval_prompts else []
        return [*one, *prompts, *many, *self.gradient_weight, *self.trackers]

    def entries(self) -> dict[str, Registered]:
        """Return what every component is, by config path; the strategy too."""
        named = {"strategy": self.strategy} if self.strategy else {}
        return {**named, **{bound.path: bound.entry for bound in self.all()}}

    def distributions(self) -> set[str]:
        """Return whose plugins the run uses or asks for; their observers are told."""
        return {entry.origin.distribution for entry in self.entries().values()} | {*self.plugins}

    def may_change(self) -> set[str]:
        """Return the config paths of options that a resumed run may set anew."""
        return {f"{bound.path}.{name}" for bound in self.all() for name in bound.options.may_change}


def validate_options(entry: Registered, options: Mapping[str, Any], path: str) -> Options:
    """Return the validated options of one component.

    Raises:
        ConfigError: Every problem, each with its path.
    """
    try:
        return entry.options.model_validate(dict(options))
    except ValidationError as error:
        raise ConfigError(problem_lines(error, entry.options, path)) from error
    except OSError as error:  # of a check that looks at the disk: no permission, too long a name
        raise ConfigError([f"{path}: {error}"]) from error


def resolved(config: RunConfig, binding: Binding) -> dict[str, Any]:
    """Return the config as plain data, with qualified names and every default written out."""
    tree = config.model_dump(mode="json", by_alias=True)
    tree["strategy"] = binding.strategy and binding.strategy.qualified
    tree["plugins"] = list(binding.plugins)
    tree["strategy_options"] = {
        binding.strategies[name]: patch for name, patch in tree["strategy_options"].items()
    }
    tree["reward_options"] = {name: dict(own) for name, own in binding.reward_options.items()}
    tree["backbone"], tree["sampler"] = binding.backbone.spec(), binding.sampler.spec()
    tree["rollout"]["train_steps"] = binding.window.spec()
    tree["advantage"] = binding.advantage.spec()
    tree["evaluate"]["sampler"] = binding.eval_sampler.spec()
    tree["reward"] = [bound.spec() for bound in binding.rewards.values()]
    tree["penalty"] = [bound.spec() for bound in binding.penalties.values()]
    tree["ratio"] = [bound.spec() for bound in binding.ratio]
    tree["gradient_weight"] = [bound.spec() for bound in binding.gradient_weight]
    tree["prompts"]["train"] = binding.train_prompts.spec()
    if binding.eval_prompts:
        tree["prompts"]["eval"] = binding.eval_prompts.spec()
    tree["tracker"] = [bound.spec() for bound in binding.trackers]
    return tree
