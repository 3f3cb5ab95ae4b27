"""GenEval: does the picture hold the objects, counts, colours and positions that were asked for?

The rule is the authors' (``geneval_rule``); what finds the objects is a detector of your choice.
Left out: their Mask2Former and CLIP, because a reward must run where the training runs. A plugin
that brings a detector registers a factory that returns ``GenEval(my_detector, credit)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import Field

from guardcore import Options, Prompt
from guardcore_plugins.rewards.geneval_rule import Detection as Detection
from guardcore_plugins.rewards.geneval_rule import Verdict as Verdict
from guardcore_plugins.rewards.geneval_rule import judge as judge
from guardcore_plugins.rewards.inputs import PromptError, check_images

if TYPE_CHECKING:
    from torch import Tensor

Credit = Literal["strict", "partial"]


class Detector(Protocol):
    """Whatever finds objects in images."""

    def __call__(self, images: Tensor, /) -> Sequence[Sequence[Detection]]:
        """Return the objects in each of ``images [B, 3, H, W]``, in [0, 1]."""


class GenEval:
    """The reward: GenEval's rule over any detector.

    Args:
        detector: Finds the objects in a batch of images.
        credit: ``strict`` gives 0 or 1, as the benchmark; ``partial`` gives ``judge``'s credit.
    """

    def __init__(self, detector: Detector, credit: Credit = "strict") -> None:
        self._detector = detector
        self._credit = credit

    def __call__(self, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """Return one score in [0, 1] an image, float32 on the CPU ``[B]``."""
        check_images(images, prompts)
        import torch

        found = self._detector(images)
        if len(found) != len(images):
            raise ValueError(f"the detector answered for {len(found)} of {len(images)} images")
        scores = [self._score(prompt, seen) for prompt, seen in zip(prompts, found, strict=True)]
        return torch.tensor(scores, dtype=torch.float32)

    def close(self) -> None:
        """Do nothing: the detector belongs to whoever made it."""

    def _score(self, prompt: Prompt, detections: Sequence[Detection]) -> float:
        try:
            verdict = judge(prompt.metadata, detections)
        except PromptError as error:
            raise PromptError(f"prompt {prompt.text!r}: {error}") from error
        return float(verdict.correct) if self._credit == "strict" else verdict.partial


class GenEvalOptions(Options):
    """Options of ``geneval``."""

    credit: Credit = Field(
        "strict",
        description="strict: 1 when everything holds, else 0, as the benchmark counts; "
        "partial: a credit in [0, 1] for each clause, which gives training more to go by",
    )
    detector: Literal["tiny-world"] = Field(
        "tiny-world",
        description="what finds the objects; tiny-world: the exact reader of its scenes",
    )


def geneval(options: GenEvalOptions) -> GenEval:
    """Judge objects, counts, colours and positions by GenEval's published rule."""
    from guardcore_plugins.tiny_world.reader import read

    return GenEval(read, options.credit)
