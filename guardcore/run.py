"""A run's components, built: the light ones first, so a mistake shows before the model loads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guardcore.batch_size import BatchSize
from guardcore.bound import Binding, Bound
from guardcore.calibration import Calibrator, built_word
from guardcore.clock import Clock
from guardcore.components import Advantage, Backbone, PromptSource, Reward, Sampler, Tracker
from guardcore.config import RunConfig
from guardcore.errors import GuardcoreError
from guardcore.judge import close
from guardcore.judges import Judges, Session
from guardcore.launched import announced
from guardcore.objective import Objective
from guardcore.plan import draw_prompts, refill_prompts
from guardcore.prompt import Prompt
from guardcore.ranks import Ranks
from guardcore.sharding import shard_blocks
from guardcore.trained_steps import TrainedSteps, built_window


class Trackers:
    """Tells every tracker."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers

    def started(self, directory: Path, config: Mapping[str, Any], iteration: int) -> None:
        """Tell those that want to know where the run lives, and after which iteration it goes on.

        Args:
            directory: The run directory.
            config: The resolved config.
            iteration: The last that counts; −1 where the run begins.
        """
        for tracker in self._trackers:
            tell = getattr(tracker, "started", None)
            if tell is not None:
                tell(directory, config, iteration)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Pass on the figures of an iteration."""
        for tracker in self._trackers:
            tracker.metrics(step, values)

    def images(self, step: int, name: str, images: Tensor, captions: Sequence[str]) -> None:
        """Pass on images with captions."""
        for tracker in self._trackers:
            tracker.images(step, name, images, captions)

    def progress(self, phase: str, done: int, total: int) -> None:
        """Tell those that want to know how far a phase has come."""
        for tracker in self._trackers:
            tell = getattr(tracker, "progress", None)
            if tell is not None:
                tell(phase, done, total)


@dataclass(frozen=True)
class Run:
    """Everything that an iteration needs."""

    config: RunConfig
    backbone: Backbone
    objective: Objective
    steps: TrainedSteps
    eval_sampler: Sampler
    advantage: Advantage
    rewards: Mapping[str, Reward]
    judges: Judges
    reward_weights: Mapping[str, float]
    train_prompts: PromptSource
    eval_prompts: PromptSource | None
    trackers: Trackers
    clock: Clock
    batch_size: BatchSize
    calibrator: Calibrator
    ranks: Ranks = field(default_factory=Ranks)

    @property
    def trained_rewards(self) -> Mapping[str, Reward]:
        """The rewards with a weight; the others are for evaluation only."""
        return {name: r for name, r in self.rewards.items() if self.reward_weights[name] != 0}

    def timed_by(self, clock: Clock) -> Run:
        """Return the run with another clock."""
        return replace(self, clock=clock, ranks=replace(self.ranks, clock=clock))

    def scoring(self, names: Iterable[str]) -> Session:
        """Return what has a phase's images scored by the rewards ``names``."""
        return self.judges.session(list(names), self.clock)


@contextmanager
def prepared(config: RunConfig, binding: Binding, ranks: Ranks | None = None) -> Iterator[Run]:
    """Build a run's components; on leaving, close rewards and trackers.

    Raises:
        GuardcoreError: A component can't be built; or there are other processes, and no ``ranks``.
    """
    if ranks is None and announced() > 1:
        raise GuardcoreError(
            f"WORLD_SIZE is {announced()}, and only `guardcore train` works in several processes: "
            "start this command without a launcher"
        )
    ranks = ranks or Ranks()
    with ExitStack() as stack:
        with ranks.main_first("building"):  # it reaches the hubs, the others find what it fetched
            run = _built(config, binding, ranks, stack)
        shard_blocks(run.backbone, ranks)
        yield run


def _built(config: RunConfig, binding: Binding, ranks: Ranks, stack: ExitStack) -> Run:
    """Build the components, and have ``stack`` close what is to be closed."""
    train_prompts = _prompts(binding.train_prompts)
    eval_prompts = _prompts(binding.eval_prompts) if binding.eval_prompts else None
    objective = build_objective(config, binding)
    steps = built_window(binding.window, config.rollout.num_inference_steps)
    advantage, eval_sampler = binding.advantage.build(), binding.eval_sampler.build()
    rewards = {}
    for label, bound in binding.rewards.items():
        rewards[label] = bound.build()
        stack.callback(close, rewards[label])
    judges = stack.enter_context(Judges(rewards, *_limit(config, ranks)))
    trackers = []
    for bound in binding.trackers if ranks.main else ():
        trackers.append(bound.build())
        stack.callback(trackers[-1].close)
    backbone = build_backbone(config, binding)
    halve = config.rollout.out_of_memory == "halve" and not ranks.in_step
    clock = Clock()
    return Run(
        config=config,
        backbone=backbone,
        objective=objective,
        steps=steps,
        eval_sampler=eval_sampler,
        advantage=advantage,
        rewards=rewards,
        judges=judges,
        reward_weights={label: b.weight or 0.0 for label, b in binding.rewards.items()},
        train_prompts=train_prompts,
        eval_prompts=eval_prompts,
        trackers=Trackers(trackers),
        clock=clock,
        batch_size=BatchSize(config.rollout.batch_size, halve, ranks.out_of_memory),
        calibrator=Calibrator([word for _, word in objective.ratio]),
        ranks=replace(ranks, clock=clock),
    )


def _limit(config: RunConfig, ranks: Ranks) -> tuple[float | None, str]:
    """Return the seconds that a reward's call may take, and the config key that says so.

    Never more than the other processes wait: they would end, and this one hang on.
    """
    own, waits = config.rollout.reward_timeout, config.distributed.timeout
    if ranks.world > 1 and (own is None or waits < own):
        return waits, "distributed.timeout"
    return own, "rollout.reward_timeout"


def build_backbone(config: RunConfig, binding: Binding) -> Backbone:
    """Build the model alone.

    The global generator is seeded immediately before, so that an adapter's initial weights depend
    on the seed alone.
    """
    if config.deterministic:
        torch.use_deterministic_algorithms(True)
    torch.manual_seed(config.seed)
    backbone: Backbone = binding.backbone.build()
    return backbone


def build_objective(config: RunConfig, binding: Binding) -> Objective:
    """Build what makes the loss alone."""
    return Objective(
        sampler=binding.sampler.build(),
        ratio=[(bound.entry.qualified, built_word(bound)) for bound in binding.ratio],
        gradient_weight=[(b.entry.qualified, b.build()) for b in binding.gradient_weight],
        penalty={label: (b.weight or 0.0, b.build()) for label, b in binding.penalties.items()},
        reduction=config.reduction,
    )


def prepare_prompts(backbone: Backbone, prompts: Iterable[Prompt]) -> None:
    """Tell a backbone that wants to know which prompts will come."""
    prepare = getattr(backbone, "prepare", None)
    if prepare is not None:
        prepare(prompt.text for prompt in prompts)


def coming_prompts(run: Run) -> Iterator[Prompt]:
    """Yield every prompt that training and its evaluations may draw, with repetitions."""
    config, number = run.config, len(run.train_prompts)
    groups, seed = config.rollout.groups, config.seed
    for iteration in range(1, config.train.iterations + 1):
        drawn = draw_prompts(number, groups, seed, iteration)
        fresh = refill_prompts(number, drawn, seed, iteration) if config.rollout.refill else ()
        for chosen in (*drawn, *islice(fresh, config.rollout.refill * groups)):
            yield run.train_prompts[chosen]
    if run.eval_prompts is not None:
        number = config.evaluate.num_images or len(run.eval_prompts)
        yield from (run.eval_prompts[place] for place in range(min(number, len(run.eval_prompts))))


def _prompts(bound: Bound) -> PromptSource:
    source: PromptSource = bound.build()
    if len(source) == 0:
        raise GuardcoreError(f"{bound.path}: {bound.entry.qualified} holds no prompt")
    return source
