"""A profile's options for rewards, laid under what a config or the command line says of them.

So ``--reward NAME`` can mean another model in a profile for tiny images than elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from guardcore.config import RunConfig
from guardcore.errors import GuardcoreError
from guardcore.problems import problem_lines
from guardcore.registry import Registry
from guardcore.spec import WeightedSpec


@dataclass(frozen=True)
class Completed:
    """The rewards of a config with the profile's options.

    Attributes:
        specs: The rewards, in the config's order.
        options: The profile's options by qualified name, whether or not the reward is named.
        problems: What is wrong with the profile's options.
    """

    specs: tuple[WeightedSpec, ...]
    options: Mapping[str, Mapping[str, Any]]
    problems: tuple[str, ...]


def complete_rewards(config: RunConfig, registry: Registry) -> Completed:
    """Lay ``reward_options`` under the rewards; wrong ones are noted and left out."""
    options: dict[str, Mapping[str, Any]] = {}
    problems: list[str] = []
    for name, own in config.reward_options.items():
        try:
            entry = registry.find("reward", name)
            entry.options.model_validate(own)
        except ValidationError as error:
            # what it leaves open, the reward itself may say
            path = f"reward_options.{name}"
            found = problem_lines(error, entry.options, path, partial=True)
            problems += found
            if found:
                continue
        except (GuardcoreError, OSError) as error:
            problems.append(f"reward_options.{name}: {error}")
            continue
        options[entry.qualified] = own
    specs = tuple(_over(spec, options, registry) for spec in config.reward)
    return Completed(specs, options, tuple(problems))


def _over(
    spec: WeightedSpec, options: Mapping[str, Mapping[str, Any]], registry: Registry
) -> WeightedSpec:
    """Return ``spec`` over the profile's options for it."""
    try:
        own = options.get(registry.find("reward", spec.use).qualified, {})
    except GuardcoreError:
        return spec  # told where it is bound
    return WeightedSpec.model_validate({**own, **spec.model_dump()})
