"""GenEval: does the picture hold the objects, counts, colours and positions that were asked for?

The rule is the authors' (``geneval_rule``); what finds the objects is a detector of your choice.
``mask2former`` is the benchmark's kind of detector, without mmdet; a plugin that brings another
registers a factory that returns ``GenEval(my_detector, credit)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import Field

from guardcore import Options, Prompt
from guardcore_plugins.devices import DEVICES
from guardcore_plugins.rewards.geneval_rule import Detection as Detection
from guardcore_plugins.rewards.geneval_rule import Verdict as Verdict
from guardcore_plugins.rewards.geneval_rule import judge as judge
from guardcore_plugins.rewards.geneval_task import parse
from guardcore_plugins.rewards.inputs import PromptError, check_images
from guardcore_plugins.rewards.pretrained import Dtype, ModelSource

if TYPE_CHECKING:
    from torch import Tensor

Credit = Literal["strict", "partial"]


class Detector(Protocol):
    """Whatever finds objects in images.

    It may have ``labels``, all the classes that it knows: a prompt that asks for another one is
    then refused, where it would score 0 for ever.
    """

    def __call__(self, images: Tensor, /) -> Sequence[Sequence[Detection]]:
        """Return the objects in each of ``images [B, 3, H, W]``, in [0, 1]."""


class GenEval:
    """The reward: GenEval's rule over any detector.

    Args:
        detector: Finds the objects in a batch of images.
        credit: ``strict`` gives 0 or 1, as the benchmark; ``partial`` gives ``judge``'s credit.
        threshold: Objects count when their score lies above.
        counting_threshold: The same where the prompt's tag is ``counting``.
    """

    def __init__(
        self,
        detector: Detector,
        credit: Credit = "strict",
        *,
        threshold: float = 0.3,
        counting_threshold: float = 0.9,
    ) -> None:
        self._detector = detector
        self._credit = credit
        self._judge = partial(judge, threshold=threshold, counting_threshold=counting_threshold)
        self._labels: Sequence[str] | None = getattr(detector, "labels", None)

    def __call__(self, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """Return one score in [0, 1] an image, float32 on the CPU ``[B]``."""
        check_images(images, prompts)
        import torch

        for prompt in prompts:
            self._check(prompt)  # before the slow part
        found = self._detector(images)
        if len(found) != len(images):
            raise ValueError(f"the detector answered for {len(found)} of {len(images)} images")
        scores = [self._score(prompt, seen) for prompt, seen in zip(prompts, found, strict=True)]
        return torch.tensor(scores, dtype=torch.float32)

    def close(self) -> None:
        """Do nothing: the detector belongs to whoever made it."""

    def _check(self, prompt: Prompt) -> None:
        try:
            task = parse(prompt.metadata)
        except PromptError as error:
            raise PromptError(f"prompt {prompt.text!r}: {error}") from error
        wanted = [clause.label for clause in task.include]
        for label in wanted + [clause.label for clause in task.exclude]:
            if self._labels is not None and label not in self._labels:
                raise PromptError(
                    f"prompt {prompt.text!r}: the detector knows no class {label!r}"
                    + _did_you_mean(label, self._labels)
                )

    def _score(self, prompt: Prompt, detections: Sequence[Detection]) -> float:
        verdict = self._judge(prompt.metadata, detections)
        return float(verdict.correct) if self._credit == "strict" else verdict.partial


def _did_you_mean(label: str, known: Sequence[str]) -> str:
    """Return a hint: "mouse" is a "computer mouse" to GenEval."""
    close = [name for name in known if label in name] or get_close_matches(label, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


class GenEvalOptions(Options):
    """Options of ``geneval``."""

    credit: Credit = Field(
        "strict",
        description="strict: 1 when everything holds, else 0, as the benchmark counts; "
        "partial: a credit in [0, 1] for each clause, which gives training more to go by",
    )
    detector: Literal["tiny-world", "mask2former"] = Field(
        "tiny-world",
        description="what finds the objects; tiny-world: the exact reader of its scenes; "
        "mask2former: COCO's 80 classes in any picture, and the colours by CLIP",
    )
    threshold: float = Field(
        0.3, ge=0, lt=1, description="an object counts when its score lies above"
    )
    counting_threshold: float = Field(
        0.9, ge=0, lt=1, description="the same where the prompt's tag is counting"
    )
    model: ModelSource = Field(
        "facebook/mask2former-swin-small-coco-instance",
        description="mask2former: directory or hub name of the detector",
    )
    clip: ModelSource = Field(
        "openai/clip-vit-large-patch14",
        description="mask2former: directory or hub name of the CLIP that names colours",
    )
    shortest_side: int = Field(
        800,
        ge=32,
        description="mask2former: pixels to which it scales an image's shortest side; fewer are "
        "quicker, and another detector than the benchmark's",
    )
    device: str = Field(
        "auto",
        pattern=DEVICES,
        description="mask2former: 'cpu', 'cuda', 'cuda:N' or 'mps'; 'auto' is cuda where there "
        "is one",
    )
    dtype: Dtype = Field(
        "float32", description="mask2former: precision of both models; scores move with it"
    )
    batch_size: int = Field(8, ge=1, description="mask2former: images that it takes at once")


def geneval(options: GenEvalOptions) -> GenEval:
    """Judge objects, counts, colours and positions by GenEval's published rule."""
    return GenEval(
        _detector(options),
        options.credit,
        threshold=options.threshold,
        counting_threshold=options.counting_threshold,
    )


def _detector(options: GenEvalOptions) -> Detector:
    if options.detector == "tiny-world":
        from guardcore_plugins.tiny_world.reader import read

        return read
    from guardcore_plugins.rewards.geneval_judges import mask2former

    return mask2former(options)
