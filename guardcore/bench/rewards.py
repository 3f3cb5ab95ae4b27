"""What each reward takes by itself, on one micro-batch of images that the config's model drew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from statistics import median
from typing import Any

import torch
from torch import Tensor

from guardcore.bench.cases import Case
from guardcore.bench.result import Judged
from guardcore.bound import Bound
from guardcore.clock import Clock
from guardcore.errors import GuardcoreError
from guardcore.evaluation import held_out, sample_images
from guardcore.judges import Judges
from guardcore.prompt import Prompt
from guardcore.run import Run

CALLS = 3
ENOUGH = 5.0
"""Seconds after which there are no more calls."""

Drawn = tuple[Tensor, list[Prompt]]
"""Images ``[B, 3, H, W]`` and their prompts."""


def time_rewards(
    run: Run, cases: Sequence[Case], tell: Callable[[str], None]
) -> tuple[Judged, ...]:
    """Time every reward; one that can't be built, or refuses the prompts, has its reason instead.

    A reward that the run has is asked where it is, others are built and closed one by one.
    """
    drawn: dict[str, Drawn] = {}
    rows = []
    for case in cases:
        tell(f"reward {case.name}")
        try:
            images, prompts = _drawn(run, case.prompts, drawn)
            with _at_work(run, case) as judges:
                rows.append(_row(case.name, judges, images, prompts))
        except (GuardcoreError, ImportError, OSError, torch.OutOfMemoryError) as error:
            reason = " ".join(str(error).split())
            rows.append(Judged(name=case.name, reason=reason or type(error).__name__))
    return tuple(rows)


def _drawn(run: Run, source: Bound | None, drawn: dict[str, Drawn]) -> Drawn:
    """Return a micro-batch of the evaluation's sampler for the source's first prompts."""
    path = source.path if source else "prompts.train"
    if path not in drawn:
        prompts = held_out(source.build() if source else run.train_prompts, _number(run))
        drawn[path] = sample_images(run, prompts, range(len(prompts)), "bench"), prompts
    return drawn[path]


def _number(run: Run) -> int:
    rollout = run.config.rollout
    return min(run.batch_size.size, rollout.groups * rollout.group_size)


@contextmanager
def _at_work(run: Run, case: Case) -> Iterator[Judges]:
    if case.name in run.rewards:
        yield run.judges
        return
    reward: Any = case.bound.entry.build(case.bound.options)
    with closing(reward), Judges({case.name: reward}) as judges:
        yield judges


def _row(name: str, judges: Judges, images: Tensor, prompts: Sequence[Prompt]) -> Judged:
    """Return the median of a few calls; the one before them loads what is loaded once."""
    _seconds(name, judges, images, prompts)
    took: list[float] = []
    while len(took) < CALLS and sum(took) < ENOUGH:
        took.append(_seconds(name, judges, images, prompts))
    seconds = median(took)
    return Judged(
        name=name,
        images=len(images),
        seconds=seconds,
        images_per_second=len(images) / seconds,
    )


def _seconds(name: str, judges: Judges, images: Tensor, prompts: Sequence[Prompt]) -> float:
    clock = Clock()
    with judges.session([name], clock) as session:
        session.submit(images, prompts)
        session.collect()
    return clock.lap()[f"seconds/reward/{name}"]
