"""Objects from logits: known blobs, the formula done naively, sizes, and a small real network."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from guardcore import GuardcoreError
from guardcore_plugins.rewards.mask2former import (
    Mask2Former,
    bounding_boxes,
    class_names,
    instances,
    masks_in_image,
    pad,
    resize,
)
from guardcore_plugins.rewards.pretrained import load_model
from judges import CLASSES, pil_processor, save_mask2former

SURE, OUT = 20.0, -20.0  # logits whose softmax and sigmoid are 1 and 0 to 1e-8


def square_logits(*boxes, size=32):
    """A mask logit of SURE inside each box x0, y0, x1, y1 and OUT elsewhere."""
    masks = torch.full((len(boxes), size, size), OUT)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = SURE
    return masks


def test_a_square_blob_gives_its_box_and_the_formulas_score():
    masks = square_logits((4, 8, 12, 20))
    masks[0, 8:20, 4:12] = 1.5  # sigmoid .8176, all over the inside
    classes = torch.tensor([[0.0, 2.0, 1.0]])  # two classes, then "no object"
    found = instances(classes, masks, floor=0.3)
    assert found.classes.tolist() == [1]
    assert found.boxes.tolist() == [[4, 8, 12, 20]]
    assert found.masks[0].sum() == 8 * 12
    probability = np.exp(2) / (1 + np.exp(2) + np.exp(1))
    assert found.scores.tolist() == pytest.approx([probability / (1 + np.exp(-1.5))], rel=1e-5)


def test_a_query_may_be_two_objects_and_no_object_is_none():
    masks = square_logits((0, 0, 4, 4), (8, 8, 12, 12))
    classes = torch.tensor([[3.0, 3.0, 0.0], [0.0, 0.0, 9.0]])
    found = instances(classes, masks, floor=0.3)
    assert sorted(found.classes.tolist()) == [0, 1]
    assert found.boxes.tolist() == [[0, 0, 4, 4]] * 2


def test_an_empty_mask_scores_nothing():
    found = instances(torch.tensor([[SURE, 0.0]]), torch.full((1, 8, 8), OUT), floor=0.0)
    assert found.scores.tolist() == []
    assert found.boxes.shape == (0, 4)
    assert found.masks.shape == (0, 8, 8)


def test_at_most_a_hundred_pairs_become_objects():
    classes = torch.zeros(60, 3)  # 120 pairs of a probability of 1/3
    found = instances(classes, square_logits(*[(0, 0, 2, 2)] * 60), floor=0.1)
    assert len(found.scores) == 100


@pytest.mark.parametrize("floor", [0.0, 0.05, 0.2])
def test_leaving_out_the_unlikely_before_scaling_changes_nothing(floor):
    generator = torch.Generator().manual_seed(0)
    classes = 2 * torch.randn(20, 5, generator=generator)
    masks = 4 * torch.randn(20, 6, 6, generator=generator)

    def scale(logits):
        return nn.functional.interpolate(logits[:, None], (12, 9), mode="bilinear")[:, 0]

    found = instances(classes, masks, floor, scale)
    expected = []
    scaled = scale(masks).numpy()
    for query, probabilities in enumerate(classes.softmax(1)[:, :-1].tolist()):
        inside = scaled[query][scaled[query] > 0]
        quality = (1 / (1 + np.exp(-inside))).sum() / (len(inside) + 1e-6)
        expected += [(p * quality, label) for label, p in enumerate(probabilities)]
    expected = sorted(pair for pair in expected if pair[0] > floor)
    seen = sorted(zip(found.scores.tolist(), found.classes.tolist(), strict=True))
    assert [label for _, label in seen] == [label for _, label in expected]
    assert [s for s, _ in seen] == pytest.approx([s for s, _ in expected], abs=1e-5)


def test_boxes_are_those_of_numpy():
    masks = torch.rand(50, 9, 13, generator=torch.Generator().manual_seed(1)) > 0.97
    masks = masks[masks.flatten(1).any(1)]
    for mask, box in zip(masks.numpy(), bounding_boxes(masks).tolist(), strict=True):
        rows, columns = np.nonzero(mask)
        assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


# Sizes


@pytest.mark.parametrize(
    ("image", "seen"),
    [
        ((512, 512), (800, 800)),
        ((1024, 1024), (800, 800)),
        ((480, 640), (800, 1067)),
        ((256, 1024), (333, 1333)),
        ((1024, 256), (1333, 333)),
    ],
)
def test_sides_are_the_benchmarks(image, seen):
    resized = resize(torch.zeros(1, 3, *image))
    assert resized.shape[-2:] == seen
    assert pad(resized).shape[-2:] == tuple(-(-side // 32) * 32 for side in seen)


def test_pixels_are_those_of_the_reference_processor():
    """The reference rounds to bytes between its steps: half a grey level, 0.0085 after /std."""
    image = torch.rand(3, 40, 56, generator=torch.Generator().manual_seed(0))
    picture = (nn.functional.avg_pool2d(image, 5, 1, 2) * 255).byte()
    processor = pil_processor("Mask2FormerImageProcessor")(
        size={"shortest_edge": 160, "longest_edge": 266}, size_divisor=32
    )
    wanted = processor(images=picture.permute(1, 2, 0).numpy(), return_tensors="pt").pixel_values
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (processor.image_mean, processor.image_std))
    ours = pad((resize(picture[None].float() / 255, 160) - mean) / std)
    assert ours.shape == wanted.shape == (1, 3, 160, 224)
    assert (ours - wanted).abs().max() < 0.02


def test_padding_is_cut_off_before_masks_are_scaled_back():
    masks = torch.full((1, 8, 8), OUT)
    masks[:, :5, :6] = SURE  # rows 5 and 6, columns 7 and 8 are padding: not of the image
    image = masks_in_image(masks, padded=(32, 32), resized=(20, 24), image=(10, 12))
    assert image.shape == (1, 10, 12)
    assert (image > 0).all()


# The detector over a network that knows: bright pixels are an object of class 1


class Bright(nn.Module):
    config = SimpleNamespace(id2label={0: "cat", 1: "mouse"})
    device, dtype = torch.device("cpu"), torch.float32

    def forward(self, pixels):
        masks = nn.functional.avg_pool2d(pixels[:, :1], 4).sub(0.5).mul(SURE)
        classes = torch.tensor([[[OUT, SURE, 0.0]]]).expand(len(pixels), -1, -1)
        return SimpleNamespace(class_queries_logits=classes, masks_queries_logits=masks)


def bright_detector(color=lambda picture, mask, label: f"{picture.mean():.0f} {label}", **settings):
    return Mask2Former(Bright(), mean=[0, 0, 0], std=[1, 1, 1], color=color, **settings)


@pytest.mark.parametrize("size", [(64, 64), (48, 72), (100, 60)])
def test_a_drawn_square_is_found_in_the_images_own_pixels(size):
    image = torch.zeros(1, 3, *size)
    image[:, :, 10:30, 8:40] = 1
    [[found]] = bright_detector()(image)
    assert found.label == "computer mouse"
    assert found.box == pytest.approx([8, 10, 40, 30], abs=1)
    assert found.score > 0.95


def test_a_colour_is_asked_of_the_box_and_only_on_demand():
    asked = []

    def color(picture, mask, label):
        asked.append((picture.shape, mask.shape, mask.all(), label))
        return "white"

    image = torch.zeros(1, 3, 64, 64)
    image[:, :, 16:32, 16:48] = 1
    [[found]] = bright_detector(color)(image)
    assert asked == []
    assert found.color_name == "white"
    [(picture, mask, full, label)] = asked
    assert picture[:2] == mask
    assert (full, label) == (True, "computer mouse")


def test_the_answer_does_not_depend_on_the_batch():
    images = torch.zeros(5, 3, 48, 48)
    for number, image in enumerate(images):
        image[:, 4 : 12 + 6 * number, 10:40] = 1
    whole = bright_detector(batch_size=5)(images)
    split = bright_detector(batch_size=2)(images)
    assert [d.box for [d] in whole] == [d.box for [d] in split]
    assert [d.score for [d] in whole] == pytest.approx([d.score for [d] in split], abs=1e-6)


def test_a_black_image_holds_nothing():
    assert bright_detector()(torch.zeros(2, 3, 40, 40)) == [[], []]


# Names


def test_coco_names_become_genevals():
    names = {0: "person", 1: "remote", 2: "keyboard", 3: "mouse", 4: "tvmonitor", 5: "cell phone"}
    assert class_names(names) == [
        "person", "tv remote", "computer keyboard", "computer mouse", "tv", "cell phone",
    ]  # fmt: skip


# A small real network


def test_a_directory_of_another_model_is_refused(tmp_path):
    from transformers import Mask2FormerForUniversalSegmentation, SwinConfig, SwinModel

    SwinModel(SwinConfig(embed_dim=8, depths=[1], num_heads=[1])).save_pretrained(tmp_path)
    with pytest.raises(GuardcoreError, match=r"reward geneval.model: .* \(|is no Mask2Former"):
        load_model(
            Mask2FormerForUniversalSegmentation, str(tmp_path), "reward geneval.model",
            device=torch.device("cpu"), dtype=torch.float32,
        )  # fmt: skip


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    from transformers import Mask2FormerForUniversalSegmentation

    directory = save_mask2former(tmp_path_factory.mktemp("mask2former"))
    return load_model(
        Mask2FormerForUniversalSegmentation, str(directory), "model",
        device=torch.device("cpu"), dtype=torch.float32,
    )  # fmt: skip


def test_a_small_network_answers_alike_in_any_batch(network):
    settings = {"mean": [0.5] * 3, "std": [0.25] * 3, "floor": 0.01, "shortest_side": 64}
    images = torch.rand(4, 3, 40, 56, generator=torch.Generator().manual_seed(2))
    by_size = [
        Mask2Former(network, color=lambda *a: "red", batch_size=size, **settings)(images)
        for size in (1, 3, 4)
    ]
    for found in by_size:
        assert [len(objects) for objects in found] == [40] * 4  # 10 queries of 4 classes
        for objects, expected in zip(found, by_size[0], strict=True):
            scores = [[d.score for d in o] for o in (objects, expected)]
            assert scores[0] == pytest.approx(scores[1], abs=1e-5)
            assert {d.label for d in objects} == {"person", "dog", "computer mouse", "tv"}
            assert all(0 <= d.box[0] < d.box[2] <= 56 for d in objects)
            assert all(0 <= d.box[1] < d.box[3] <= 40 for d in objects)
    assert len(CLASSES) == 4
