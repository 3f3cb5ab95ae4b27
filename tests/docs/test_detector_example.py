"""The example of a detector of one's own, on a small YOLOS and CLIP from configs."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from guardcore import GuardcoreError, Prompt
from guardcore.plugins import PluginHost
from guardcore.registry import Origin
from guardcore_plugins.rewards.color import COLORS
from judges import pil_processor, save_clip

SOURCE = Path(__file__).parents[2] / "docs/examples/guardcore-geneval-boxes"
NAME = "guardcore_geneval_boxes"


@pytest.fixture(scope="module")
def reward(tmp_path_factory):
    """The example's reward, through a plugin host, with everything that it finds counting."""
    spec = importlib.util.spec_from_file_location(NAME, SOURCE / f"{NAME}.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, NAME, module)
        spec.loader.exec_module(module)
        host = PluginHost.discover()
        host.add(module, Origin("guardcore-geneval-boxes", "0.1.0", "geneval-boxes", NAME))
        entry = host.registry.find("reward", "geneval-boxes")
        folder = tmp_path_factory.mktemp("boxes")
        model, clip = str(save_yolos(folder / "yolos")), str(save_clip(folder / "clip"))
        yield entry.build(entry.options(model=model, clip=clip, threshold=0.01))


def save_yolos(directory: Path) -> Path:
    from transformers import YolosConfig, YolosForObjectDetection

    torch.manual_seed(0)
    config = YolosConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=[32, 32], patch_size=8, num_detection_tokens=6,
        id2label={0: "dog", 1: "mouse"}, label2id={"dog": 0, "mouse": 1},
    )  # fmt: skip
    YolosForObjectDetection(config).save_pretrained(directory)
    pil_processor("YolosImageProcessor")(size={"height": 32, "width": 32}).save_pretrained(
        directory
    )
    return directory


def asking(label, **more):
    clause = {"class": label, "count": 1, **more}
    return Prompt("a prompt", {"tag": "single_object", "include": [clause]})


def test_boxes_are_judged_by_the_rule_and_colours_by_clip(reward):
    images = torch.rand(10, 3, 40, 48, generator=torch.Generator().manual_seed(0))
    [label] = [
        name
        for name in ("dog", "computer mouse")
        if reward(images[:1], [asking(name)]).tolist() == [1]
    ][:1]
    one = images[:1].expand(10, -1, -1, -1)
    scores = reward(one, [asking(label, color=color) for color in COLORS])
    assert sorted(scores.tolist()) == [0] * 9 + [1]


def test_the_example_knows_its_classes(reward):
    with pytest.raises(GuardcoreError, match="no class 'mouse'; did you mean 'computer mouse'"):
        reward(torch.rand(1, 3, 40, 48), [asking("mouse")])
