"""Objects by Mask2Former, as GenEval finds them, from the network's raw logits.

Source: GenEval (arXiv 2310.11513) runs Mask2Former (Swin-S, COCO instances) in mmdet 2.27, whose
``MaskFormerFusionHead.instance_postprocess`` says what an object's score and box are. transformers'
own post-processing is another rule: masks at 384 × 384, cut so that they don't overlap.
The published numbers come from mmdet's weights; the hub's are those of the paper's authors, so
scores compare within one detector only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from guardcore_plugins.rewards.geneval_rule import Detection
from guardcore_plugins.rewards.inputs import as_bytes

SHORTEST, LONGEST = 800, 1333  # pixels: an image's sides as the published detector sees it
DIVISOR = 32  # the network's stride; the input is padded to a multiple of it
BEST = 100  # (query, class) pairs that become objects

GENEVAL_NAMES = {
    "mouse": "computer mouse",
    "remote": "tv remote",
    "keyboard": "computer keyboard",
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}
"""GenEval's name of a COCO class where a checkpoint has another; the other names are the same."""


class Namer(Protocol):
    """Whatever names an object's colour from its box's pixels and its mask there."""

    def __call__(self, picture: NDArray[np.uint8], mask: NDArray[np.bool_], label: str, /) -> str:
        """Return the colour's name."""


@dataclass(frozen=True, eq=False)
class Instances:
    """The objects of one image.

    Attributes:
        classes: Class numbers ``[N]``.
        scores: Class probability times mask score ``[N]``.
        boxes: x0, y0, x1, y1 in pixels ``[N, 4]``; the second corner lies outside.
        masks: ``[N, H, W]``, bool.
    """

    classes: Tensor
    scores: Tensor
    boxes: Tensor
    masks: Tensor


class Mask2Former:
    """The detector.

    Args:
        network: A Mask2FormerForUniversalSegmentation.
        mean: Of the images that it was trained on, by channel, in [0, 1].
        std: Likewise.
        color: Names an object's colour; asked only where a prompt wants one.
        floor: Objects that don't score above it are left out.
        shortest_side: An image's, in pixels, as the network sees it.
        batch_size: Images that it takes at once.
    """

    def __init__(
        self,
        network: Any,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        color: Namer,
        floor: float = 0.3,
        shortest_side: int = SHORTEST,
        batch_size: int = 8,
    ) -> None:
        self._network = network
        self._mean, self._std = (torch.tensor(v).view(3, 1, 1) for v in (mean, std))
        self._color = color
        self._floor = floor
        self._shortest_side = shortest_side
        self._batch_size = batch_size
        self.labels = class_names(network.config.id2label)

    def __call__(self, images: Tensor) -> list[list[Detection]]:
        """Return the objects in each of ``images [B, 3, H, W]``, in [0, 1]."""
        pictures = as_bytes(images)
        found: list[list[Detection]] = []
        with torch.no_grad():
            for start in range(0, len(pictures), self._batch_size):
                batch = pictures[start : start + self._batch_size]
                seen = zip(batch, self._instances(batch), strict=True)
                found += [self._detections(picture, objects) for picture, objects in seen]
        return found

    def _instances(self, pictures: NDArray[np.uint8]) -> list[Instances]:
        network = self._network
        images = torch.from_numpy(pictures).to(network.device).permute(0, 3, 1, 2).float() / 255
        mean, std = self._mean.to(network.device), self._std.to(network.device)
        resized = (resize(images, self._shortest_side) - mean) / std
        padded = pad(resized)
        answer = network(padded.to(network.dtype))
        sizes = {"padded": padded, "resized": resized, "image": images}
        scale = partial(masks_in_image, **{name: t.shape[-2:] for name, t in sizes.items()})
        return [
            instances(classes.float(), masks.float(), self._floor, scale)
            for classes, masks in zip(
                answer.class_queries_logits, answer.masks_queries_logits, strict=True
            )
        ]

    def _detections(self, picture: NDArray[np.uint8], objects: Instances) -> list[Detection]:
        """Return an image's objects; of a mask, only what lies in its box is kept."""
        found = []
        rows = (objects.classes, objects.scores, objects.boxes)
        for number, (label, score, box) in enumerate(zip(*(r.tolist() for r in rows), strict=True)):
            x0, y0, x1, y1 = box
            mask = objects.masks[number, y0:y1, x0:x1].cpu().numpy()
            color = partial(self._color, picture[y0:y1, x0:x1], mask, self.labels[label])
            found.append(Detection(self.labels[label], box, score, color))
        return found


def class_names(id2label: Mapping[int, str]) -> list[str]:
    """Return a checkpoint's classes by their number, as GenEval's metadata spells them."""
    names = [id2label[number] for number in range(len(id2label))]
    return [GENEVAL_NAMES.get(name, name) for name in names]


def resize(images: Tensor, shortest: int = SHORTEST) -> Tensor:
    """Scale ``[B, 3, H, W]`` to a shortest side in pixels, the longest at most 1333/800 of it."""
    height, width = images.shape[-2:]
    scale = shortest * min(1 / min(height, width), LONGEST / SHORTEST / max(height, width))
    size = int(height * scale + 0.5), int(width * scale + 0.5)
    return nn.functional.interpolate(images, size, mode="bilinear", align_corners=False)


def pad(images: Tensor) -> Tensor:
    """Add zeros at the right and the bottom up to multiples of 32."""
    height, width = images.shape[-2:]
    return nn.functional.pad(images, (0, -width % DIVISOR, 0, -height % DIVISOR))


def masks_in_image(
    masks: Tensor, *, padded: Sequence[int], resized: Sequence[int], image: Sequence[int]
) -> Tensor:
    """Bring mask logits ``[N, h, w]`` to the image's own pixels, sizes as (height, width).

    In the two steps of mmdet: to the padded input, whose padding is cut off, then to the image.
    """
    scale = partial(nn.functional.interpolate, mode="bilinear", align_corners=False)
    whole = scale(masks[:, None], tuple(padded))[..., : resized[0], : resized[1]]
    return scale(whole, tuple(image))[:, 0]


def instances(
    class_logits: Tensor, mask_logits: Tensor, floor: float, scale: Any = lambda masks: masks
) -> Instances:
    """Read the objects off one image's logits.

    Of all (query, class) pairs the 100 most probable become objects, with
    ``score = softmax(class_logits)[query, class] * mean(sigmoid(mask_logits) where > 0)``,
    mask ``mask_logits > 0``, and the mask's bounding box.

    Args:
        class_logits: ``[Q, C + 1]``; the last class is "no object".
        mask_logits: ``[Q, h, w]``.
        floor: Objects that don't score above it are left out: before any mask is scaled, because
            no score is above its class probability.
        scale: Brings mask logits ``[N, h, w]`` to the image's pixels ``[N, H, W]``.
    """
    probabilities = class_logits.softmax(-1)[:, :-1]
    best, places = probabilities.flatten().topk(min(BEST, probabilities.numel()))
    places, best = places[best > floor], best[best > floor]
    number = probabilities.shape[1]
    logits = scale(mask_logits[places // number])
    masks = logits > 0
    scores = best * mask_scores(logits, masks)
    keep = scores > floor
    return Instances(places[keep] % number, scores[keep], bounding_boxes(masks[keep]), masks[keep])


def mask_scores(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the mean of ``sigmoid(logits)`` inside each of ``masks [N, H, W]``; 0 where empty."""
    inside = (logits.sigmoid() * masks).flatten(1).sum(1)
    return inside / (masks.flatten(1).sum(1) + 1e-6)


def bounding_boxes(masks: Tensor) -> Tensor:
    """Return x0, y0, x1, y1 ``[N, 4]`` around ``masks [N, H, W]``, none of them empty."""

    def ends(line: Tensor) -> tuple[Tensor, Tensor]:
        flags = line.byte()  # argmax takes no bool; of equal values, it takes the first
        return flags.argmax(1), line.shape[1] - flags.flip(1).argmax(1)

    (x0, x1), (y0, y1) = ends(masks.any(1)), ends(masks.any(2))
    return torch.stack([x0, y0, x1, y1], 1)
