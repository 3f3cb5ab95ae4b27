"""GenEval's rule over any object detector of transformers: boxes without masks."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from guardcore import Options, Registrar, Reward, hookimpl
from guardcore_plugins.rewards.geneval import Detection, GenEval

NAMES = {"mouse": "computer mouse", "remote": "tv remote", "keyboard": "computer keyboard"}


class BoxesOptions(Options):
    """Whose boxes, and when an object counts."""

    model: str = Field("hustvl/yolos-small", description="directory or hub name of the detector")
    clip: str = Field("openai/clip-vit-large-patch14", description="the CLIP that names colours")
    threshold: float = Field(0.7, ge=0, lt=1, description="an object counts above this score")
    credit: Literal["strict", "partial"] = Field("strict", description="as geneval's")


class Boxes:
    """The detector: boxes by a network of transformers, colours by CLIP in the whole box."""

    def __init__(self, network: Any, processor: Any, color: Any, threshold: float) -> None:
        self._network, self._processor, self._color = network, processor, color
        self._threshold = threshold
        names = network.config.id2label
        self.labels = [NAMES.get(names[n], names[n]) for n in sorted(names)]

    def __call__(self, images: Tensor) -> Sequence[Sequence[Detection]]:
        """Return the objects in each of ``images [B, 3, H, W]``, in [0, 1]."""
        import torch

        pictures = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
        with torch.no_grad():
            answer = self._network(**self._processor(images=list(pictures), return_tensors="pt"))
        found = self._processor.post_process_object_detection(
            answer, self._threshold, target_sizes=[images.shape[-2:]] * len(images)
        )
        return [self._detections(*pair) for pair in zip(pictures, found, strict=True)]

    def _detections(self, picture: Any, found: Any) -> list[Detection]:
        rows = zip(found["labels"], found["boxes"], found["scores"], strict=True)
        return [self._detection(picture, int(n), b.tolist(), float(s)) for n, b, s in rows]

    def _detection(
        self, picture: Any, number: int, box: Sequence[float], score: float
    ) -> Detection:
        height, width = picture.shape[:2]
        x0, y0 = min(max(int(box[0]), 0), width - 1), min(max(int(box[1]), 0), height - 1)
        inside = picture[y0 : max(int(box[3]), y0 + 1), x0 : max(int(box[2]), x0 + 1)]
        everywhere = inside[..., 0] >= 0  # a mask that leaves nothing out
        color = partial(self._color, inside, everywhere, self.labels[number])
        return Detection(self.labels[number], box, score, color)


def geneval_boxes(options: BoxesOptions) -> Reward:
    """Judge by GenEval's rule over the boxes of an object detector of transformers."""
    import torch
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    from guardcore_plugins.rewards.geneval_judges import color_namer

    network = AutoModelForObjectDetection.from_pretrained(options.model).eval()
    processor = AutoImageProcessor.from_pretrained(options.model)
    color = color_namer(options.clip, torch.device("cpu"), torch.float32)
    detector = Boxes(network, processor, color, options.threshold)
    return GenEval(detector, options.credit, threshold=options.threshold)


@hookimpl
def guardcore_register_rewards(register: Registrar) -> None:
    """Register the one reward."""
    register("geneval-boxes", geneval_boxes)
