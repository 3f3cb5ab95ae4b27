"""From a config to components: every name looked up, every option validated, all errors at once.

Nothing heavy is imported here, and nothing is built: a ``Bound`` component knows how.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from guardcore.bound import Binding, Bound, validate_options
from guardcore.config import RunConfig
from guardcore.errors import ConfigError, GuardcoreError, did_you_mean
from guardcore.offers import normalised
from guardcore.problems import problem_lines
from guardcore.registry import Registered, Registry
from guardcore.reward_options import complete_rewards
from guardcore.spec import Spec, SpecLike, Strategy, WeightedSpec
from guardcore.trained_steps import PATH, reach


def bind(config: RunConfig, registry: Registry) -> Binding:
    """Look up and validate every component of ``config``.

    Raises:
        ConfigError: Every problem, each with its config path.
    """
    return _Binder(config, registry).bind()


class _Binder:
    """Collects problems while it binds."""

    def __init__(self, config: RunConfig, registry: Registry) -> None:
        self.config = config
        self.registry = registry
        self.problems: list[str] = []
        self.strategies: dict[str, Registered] = {}

    def bind(self) -> Binding:
        config = self.config
        strategy = self._strategy()
        rewards = complete_rewards(config, self.registry)
        self.problems += rewards.problems
        parts: dict[str, Any] = {
            "backbone": self._one("backbone", config.backbone),
            "sampler": self._one("sampler", config.sampler),
            "eval_sampler": self._one("sampler", config.evaluate.sampler, "evaluate.sampler"),
            "window": self._window(),
            "advantage": self._one("advantage", config.advantage),
            "rewards": self._labelled("reward", rewards.specs),
            "penalties": self._labelled("penalty", config.penalty),
            "ratio": self._words("ratio_transform", "ratio", config.ratio, strategy.ratio),
            "gradient_weight": self._words(
                "gradient_weight",
                "gradient_weight",
                config.gradient_weight,
                strategy.gradient_weight,
            ),
            "train_prompts": self._one("prompt_source", config.prompts.train, "prompts.train"),
            "eval_prompts": config.prompts.eval
            and self._one("prompt_source", config.prompts.eval, "prompts.eval"),
            "trackers": self._many("tracker", "tracker", config.tracker),
            "plugins": self._plugins(),
        }
        self._check_rewards()
        self._check_ratio()
        self._check_shares()
        if self.problems:
            raise ConfigError(self.problems)
        parts["strategy"] = config.strategy and self.strategies[config.strategy]
        parts["strategies"] = {name: found.qualified for name, found in self.strategies.items()}
        parts["reward_options"] = rewards.options
        return Binding(**parts, warnings=tuple(self._warnings(strategy)))

    def _one(self, kind: str, spec: Spec, path: str | None = None) -> Bound | None:
        path = path or kind
        weight = spec.weight if isinstance(spec, WeightedSpec) else None
        try:
            entry = self.registry.find(kind, spec.use)
            return Bound(path, entry, validate_options(entry, spec.options, path), weight)
        except ConfigError as error:
            self.problems += error.problems
        except GuardcoreError as error:
            self.problems.append(f"{path}: {error}")
        return None

    def _many(self, kind: str, path: str, specs: tuple[Spec, ...]) -> tuple[Bound | None, ...]:
        return tuple(self._one(kind, s, f"{path}.{place}") for place, s in enumerate(specs))

    def _labelled(self, kind: str, specs: tuple[WeightedSpec, ...]) -> dict[str, Bound]:
        """Label by short name, and a second one of a name as the command line would write it."""
        labelled: dict[str, Bound] = {}
        for bound in self._many(kind, kind, specs):
            if bound is None:
                continue
            label = bound.entry.name
            if label in labelled:
                label = _difference(labelled[label], bound)
            if label in labelled:
                self.problems.append(f"{bound.path}: the same {kind} is listed already")
            labelled[label] = bound
        return labelled

    def _strategy(self) -> Strategy:
        """Return the config's strategy with the profile's options laid over its words."""
        name = self.config.strategy
        chosen = none = Strategy(ratio=())
        if name is not None:
            chosen = result = self._find_strategy(name, "strategy") or none
        for named, patch in self.config.strategy_options.items():
            path = f"strategy_options.{named}"
            strategy = self._find_strategy(named, path)
            patched = self._patched(strategy, patch, path) if strategy else none
            if strategy is chosen:
                result = patched
        return chosen if name is None else result

    def _find_strategy(self, name: str, path: str) -> Strategy | None:
        try:
            found = self.registry.find("strategy", name)
        except GuardcoreError as error:
            self.problems.append(f"{path}: {error}")
            return None
        self.strategies[name] = found
        return found.factory if isinstance(found.factory, Strategy) else None

    def _patched(
        self, strategy: Strategy, patch: Mapping[str, Mapping[str, Any]], path: str
    ) -> Strategy:
        ratio, weights = _specs(strategy.ratio), _specs(strategy.gradient_weight)
        words = {spec.use for spec in (*ratio, *weights)}
        for word in sorted(set(patch) - words):
            hint = did_you_mean(word, words)
            self.problems.append(f"{path}.{word}: the strategy has no such word{hint}")
        return replace(
            strategy,
            ratio=[self._patched_word("ratio_transform", s, patch, path) for s in ratio],
            gradient_weight=[
                self._patched_word("gradient_weight", s, patch, path) for s in weights
            ],
        )

    def _patched_word(
        self, kind: str, spec: Spec, patch: Mapping[str, Mapping[str, Any]], path: str
    ) -> SpecLike:
        """Return a word with its patch; a wrong one is noted and left out."""
        own = dict(patch.get(spec.use, {}))
        if "use" in own:
            del own["use"]
            self.problems.append(f"{path}.{spec.use}.use: the strategy has its words; leave it out")
        try:
            whole = Spec.model_validate({**spec.model_dump(), **own})
        except ValidationError as error:  # a key that is no text, like half a surrogate pair
            self.problems += problem_lines(error, Spec, f"{path}.{spec.use}")
            return spec.model_dump()
        sound = spec.use not in patch or self._one(kind, whole, f"{path}.{spec.use}")
        return (whole if sound else spec).model_dump()

    def _words(
        self, kind: str, path: str, own: tuple[Spec, ...] | None, strategy: Sequence[SpecLike]
    ) -> tuple[Bound | None, ...]:
        """Bind the config's own list, or else the strategy's."""
        if own is not None:
            return self._many(kind, path, own)
        return self._many(kind, f"strategy {self.config.strategy}: {path}", _specs(strategy))

    def _plugins(self) -> tuple[str, ...]:
        """Return the distributions that the config asks for by themselves, imported."""
        for place, name in enumerate(self.config.plugins):
            try:
                self.registry.require(name)
            except GuardcoreError as error:
                self.problems.append(f"plugins.{place}: {error}")
        return tuple(dict.fromkeys(normalised(name) for name in self.config.plugins))

    def _check_rewards(self) -> None:
        if all(spec.weight == 0 for spec in self.config.reward):
            self.problems.append("reward: at least one needs a weight other than 0")

    def _check_ratio(self) -> None:
        if self.config.strategy is None and self.config.ratio is None:
            self.problems.append("ratio: required where no strategy is named; [] is no transform")

    def _window(self) -> Bound | None:
        """Bind the window, and see whether it fits into the schedule."""
        rollout = self.config.rollout
        bound = self._one("window", rollout.train_steps, PATH)
        if bound is not None:
            try:
                reach(bound, rollout.num_inference_steps - 1)
            except (ValueError, GuardcoreError) as error:
                last = f"the last step of {rollout.num_inference_steps} is never trained"
                self.problems.append(f"{PATH}: {error}; {last}")
        return bound

    def _check_shares(self) -> None:
        rollout, train = self.config.rollout, self.config.train
        batches = -(-rollout.groups * rollout.group_size // rollout.batch_size)
        if train.samples_per_update == "share" and batches < train.updates_per_iteration:
            self.problems.append(
                f"train.updates_per_iteration: {train.updates_per_iteration} updates cannot share "
                f"{batches} micro-batches; lower rollout.batch_size"
            )

    def _warnings(self, strategy: Strategy) -> list[str]:
        config, warnings = self.config, []
        sampler = config.sampler.use.rpartition(":")[2]
        derived_for = () if config.gradient_weight is not None else strategy.samplers
        if derived_for and sampler not in derived_for:
            warnings.append(
                f"strategy {config.strategy!r} was derived for {', '.join(derived_for)}, "
                f"not for {sampler}: its gradient weight does not fit"
            )
        if config.train.updates_per_iteration == 1:
            warnings.append(
                "train.updates_per_iteration is 1: every ratio is 1, so no clip can act"
            )
        return warnings


def _difference(first: Bound, second: Bound) -> str:
    """Return what tells ``second`` from ``first``: its qualified name, or its options."""
    if first.entry.qualified != second.entry.qualified:
        return second.entry.qualified
    before = first.options.model_dump(mode="json")
    after = second.options.model_dump(mode="json")
    changed = ",".join(f"{name}={v}" for name, v in after.items() if before.get(name) != v)
    return f"{second.entry.name}:{changed}" if changed else second.entry.name


def _specs(words: Sequence[SpecLike]) -> tuple[Spec, ...]:
    return tuple(Spec.model_validate(word) for word in words)
