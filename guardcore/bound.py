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
        return {"use": self.entry.qualified, **weight, **self.options.model_dump(mode="json")}


@dataclass(frozen=True)
class Binding:
    """All components of a run.

    ``strategies`` maps the config's names to qualified ones; ``reward_options`` has qualified ones.
    """

    backbone: Bound
    sampler: Bound
    eval_sampler: Bound
    advantage: Bound
    rewards: Mapping[str, Bound]
    penalties: Mapping[str, Bound]
    ratio: tuple[Bound, ...]
    gradient_weight: tuple[Bound, ...]
    train_prompts: Bound
    eval_prompts: Bound | None
    trackers: tuple[Bound, ...]
    strategy: str | None
    strategies: Mapping[str, str]
    reward_options: Mapping[str, Mapping[str, Any]]
    warnings: tuple[str, ...] = ()

    def all(self) -> list[Bound]:
        """Return every component that the run uses."""
        one = [self.backbone, self.sampler, self.eval_sampler, self.advantage, self.train_prompts]
        many = [*self.rewards.values(), *self.penalties.values(), *self.ratio]
        prompts = [self.eval_prompts] if self.eval_prompts else []
        return [*one, *prompts, *many, *self.gradient_weight, *self.trackers]

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
    tree["strategy"] = binding.strategy
    tree["strategy_options"] = {
        binding.strategies[name]: patch for name, patch in tree["strategy_options"].items()
    }
    tree["reward_options"] = {name: dict(own) for name, own in binding.reward_options.items()}
    tree["backbone"], tree["sampler"] = binding.backbone.spec(), binding.sampler.spec()
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
