"""Rewards: called, checked and named when they break their contract."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from guardcore.components import Reward
from guardcore.errors import ComponentError, GuardcoreError
from guardcore.prompt import Prompt


@torch.no_grad()
def score(name: str, reward: Reward, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
    """Return a reward of ``images [B, 3, H, W]`` as ``[B]`` in float64 on the CPU.

    Raises:
        ComponentError: The reward raised, or returned another shape or a non-finite number; it
            and the prompt are named.
        OutOfMemoryError: As the reward raised it, with a note: fewer images may fit.
    """
    try:
        scores = reward(images, prompts)
    except torch.OutOfMemoryError as error:
        error.add_note(f"reward {name!r}")
        raise
    except GuardcoreError as error:
        raise ComponentError(f"reward {name!r}: {error}") from error
    except Exception as error:
        raise ComponentError(
            f"reward {name!r} raised {type(error).__name__}: {error}; "
            f"the first of {len(prompts)} prompts was {prompts[0].text!r}"
        ) from error
    if not isinstance(scores, Tensor) or scores.shape != (len(prompts),):
        received = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ComponentError(
            f"reward {name!r} must return one number an image, [{len(prompts)}], received "
            f"{received}; the first prompt was {prompts[0].text!r}"
        )
    scores = scores.detach().double().cpu()
    for value, prompt in zip(scores.tolist(), prompts, strict=True):
        if value != value or value in (float("inf"), float("-inf")):
            raise ComponentError(f"reward {name!r} returned {value} for prompt {prompt.text!r}")
    return scores
