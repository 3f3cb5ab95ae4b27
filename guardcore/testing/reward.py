"""The laws of a reward.

The cases are few and fixed, the smallest first: a judge may take seconds an image.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import torch
from hypothesis.strategies import sampled_from
from torch import Tensor

from guardcore.components import Reward
from guardcore.errors import GuardcoreError
from guardcore.prompt import Prompt
from guardcore.testing.law import BrokenError, hold, label, once
from guardcore.testing.methods import closed_after, has_methods
from guardcore.testing.pictures import DRAWN, EXTREME, PROMPTS, Batch

COUPLED = 0.05
"""Of the spread of the scores. A score that depends on its neighbours moves by the spread itself;
a judge in half precision, whose batches of another shape round otherwise, by a hundredth."""

ROUNDED = 1e-5
"""Of the largest score: float32, summed in another order."""


def check_reward(
    reward: Reward,
    *,
    prompts: Sequence[Prompt] | None = None,
    size: int = 64,
    name: str | None = None,
) -> None:
    """Check a reward against its contract, and close it.

    Args:
        reward: As its factory builds it.
        prompts: What it can judge by; by default with a quoted text and GenEval's metadata.
        size: The images' height in pixels; most are square, some half as wide again.
        name: What errors call it.

    Raises:
        ContractError: It breaks a law, which the error names.
    """
    who = label("reward", reward, name)
    once("methods", who, lambda: has_methods(reward, ["__call__", "close"]))
    judge = _Judge(reward, tuple(prompts or PROMPTS))
    with closed_after(who, lambda: _twice(reward.close)):
        for law, cases in _laws(size).items():
            called, trial = law.__name__.replace("_", "-"), partial(law, judge)
            hold(called, who, sampled_from(cases), trial, tries=len(cases))


def _twice(call: Callable[[], object]) -> None:
    call()
    call()


@dataclass(frozen=True)
class _Judge:
    reward: Reward
    prompts: tuple[Prompt, ...]

    def prompts_of(self, batch: Batch) -> list[Prompt]:
        """Return one prompt an image, always the same for the same image."""
        place = {name: place for place, name in enumerate((*DRAWN, *EXTREME))}
        return [self.prompts[place[name] % len(self.prompts)] for name in batch.names]

    @torch.no_grad()
    def answer(self, batch: Batch) -> Tensor:
        """Return what the reward says, asked as a run asks."""
        return self.reward(batch.images, self.prompts_of(batch))

    def scores(self, batch: Batch) -> Tensor:
        """Return scores ``[B]`` in float64 on the CPU."""
        return self.answer(batch).double().cpu()


def _laws(size: int) -> dict[Callable[[_Judge, Batch], None], Sequence[Batch]]:
    """Return each law with its cases, in the order in which they are tried."""
    names = tuple(DRAWN)
    one, two, four = (Batch(names[:count], size, size) for count in (1, 2, 4))
    wide = Batch(names[:3], size, size + size // 2)
    extreme = [Batch((name,), size, size) for name in EXTREME]
    return {
        one_number_an_image: [one, two],
        finite: [one, four],
        bad_images: [*extreme, Batch((*EXTREME, *names[:1]), size, size)],
        other_sizes: [wide],
        own_thread: [one],
        deterministic: [two],
        images_in_order: [two, four],
        batch_split: [two, four],
        inputs_left_alone: [two],
    }


def one_number_an_image(judge: _Judge, batch: Batch) -> None:
    """It returns a tensor ``[B]`` of real numbers."""
    answer, wanted = judge.answer(batch), f"one number an image, [{len(batch)}]"
    if not isinstance(answer, Tensor):
        raise BrokenError(f"expected a tensor of {wanted}, received a {type(answer).__name__}")
    if answer.shape != (len(batch),):
        raise BrokenError(f"expected {wanted}, received {list(answer.shape)}")
    if answer.is_complex():
        raise BrokenError(f"expected real numbers, received {answer.dtype}")


def finite(judge: _Judge, batch: Batch) -> None:
    """A number that isn't finite stops a run."""
    scores = judge.scores(batch).tolist()
    odd = [name for name, score in zip(batch.names, scores, strict=True) if not _is_finite(score)]
    if odd:
        raise BrokenError(f"expected finite numbers, received {_shown(scores)} ({odd[0]})")


def bad_images(judge: _Judge, batch: Batch) -> None:
    """Of black, white, noise and their like too: every model draws them once."""
    finite(judge, batch)


def other_sizes(judge: _Judge, batch: Batch) -> None:
    """A size that it cannot judge is refused in words, never answered at random."""
    try:
        judge.answer(batch)
    except (ValueError, GuardcoreError):
        return
    one_number_an_image(judge, batch)
    finite(judge, batch)


def own_thread(judge: _Judge, batch: Batch) -> None:
    """A run builds a reward in one thread and calls it from another."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(judge.scores, batch).result()


def deterministic(judge: _Judge, batch: Batch) -> None:
    """The same images have the same scores."""
    first, second = judge.scores(batch), judge.scores(batch)
    if (first - second).abs().max() > ROUNDED * first.abs().max():
        raise BrokenError(f"the same images had {_shown(first)}, and then {_shown(second)}")


def images_in_order(judge: _Judge, batch: Batch) -> None:
    """Images in another order, with their prompts, have their scores in that order."""
    turned = replace(batch, names=batch.names[::-1])
    _alike(judge.scores(batch), judge.scores(turned).flip(0), "with the images in reverse order")


def batch_split(judge: _Judge, batch: Batch) -> None:
    """A score doesn't depend on the images beside it."""
    whole = judge.scores(batch)
    alone = [judge.scores(replace(batch, names=(name,))) for name in batch.names]
    _alike(whole, torch.cat(alone), "one at a time")
    parts = [replace(batch, names=names) for names in (batch.names[:1], batch.names[1:])]
    _alike(whole, torch.cat([judge.scores(part) for part in parts]), "as the first and the rest")


def inputs_left_alone(judge: _Judge, batch: Batch) -> None:
    """It changes neither images nor prompts: other rewards look at the same ones."""
    images, prompts = batch.images, copy.deepcopy(judge.prompts_of(batch))
    with torch.no_grad():
        judge.reward(images, prompts)
    if not torch.equal(images, batch.images):
        raise BrokenError("it changed the images in place; other rewards look at the same ones")
    if prompts != judge.prompts_of(batch):
        raise BrokenError("it changed the prompts; other rewards look at the same ones")


def _alike(first: Tensor, second: Tensor, how: str) -> None:
    spread, largest = first.max() - first.min(), first.abs().max()
    if (first - second).abs().max() > COUPLED * spread + ROUNDED * largest:
        raise BrokenError(f"the images have {_shown(first)}, {how} {_shown(second)}")


def _is_finite(number: float) -> bool:
    return abs(number) < float("inf")


def _shown(scores: Tensor | Sequence[float]) -> str:
    return f"[{', '.join(f'{float(score):.4g}' for score in scores)}]"
