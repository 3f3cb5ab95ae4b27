"""Zero-shot colours: the published formula done naively, and a CLIP that has learnt its colours."""

import numpy as np
import pytest
import torch
from torch import nn

from guardcore_plugins.backbones.quiet import quiet
from guardcore_plugins.rewards.color import COLORS, OUTSIDE, ColorNamer, cut_out
from judges import save_clip

PAINTS = {
    "red": (210, 30, 30), "orange": (245, 145, 20), "yellow": (240, 225, 40),
    "green": (40, 150, 50), "blue": (40, 70, 200), "purple": (125, 40, 150),
    "pink": (250, 160, 200), "brown": (115, 70, 35), "black": (15, 15, 15),
    "white": (245, 245, 245),
}  # fmt: skip


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A CLIP, its tokenizer and its image processor."""
    with quiet():
        from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

        directory = save_clip(tmp_path_factory.mktemp("clip"))
        kinds = (CLIPModel, AutoTokenizer, AutoImageProcessor)
        return [kind.from_pretrained(directory) for kind in kinds]


def painted(color, height=20, width=26):
    return np.full((height, width, 3), PAINTS[color], dtype=np.uint8)


def test_what_the_mask_leaves_out_is_grey():
    mask = np.zeros((20, 26), dtype=bool)
    mask[5:9, 3:7] = True
    cut = cut_out(painted("red"), mask)
    assert cut.dtype == np.uint8
    assert (cut[mask] == PAINTS["red"]).all()
    assert (cut[~mask] == OUTSIDE).all()


@torch.no_grad()
def test_the_likeness_is_the_benchmarks(parts):
    """Embeddings of length 1, their mean over a colour's captions, length 1 again, the cosine."""
    clip, tokenizer, processor = parts
    for color, label in (("red", "dog"), ("white", "computer mouse")):
        captions = [
            [f"a photo of a {c} {what}" for what in (label, "object")]
            + [f"a photo of a {c}-colored {label}"]
            for c in COLORS
        ]
        expected = []
        for three in captions:
            tokens = tokenizer(three, padding=True, return_tensors="pt")
            pixels = processor(images=painted(color), return_tensors="pt")
            answer = clip(**tokens, **pixels)  # its embeddings have length 1
            mean = answer.text_embeds.mean(0)
            expected.append(float(mean / mean.norm() @ answer.image_embeds[0]))
        namer = ColorNamer(clip, tokenizer, processor)
        likeness = namer.likeness(painted(color), label)
        assert likeness.tolist() == pytest.approx(expected, abs=1e-5)
        whole = np.ones((20, 26), dtype=bool)
        assert namer(painted(color), whole, label) == COLORS[int(np.argmax(expected))]


def learnt(clip, tokenizer, processor, steps=60):
    """Teach the CLIP what its captions call the ten paints, on grey as a cut-out has them."""
    pictures = [cut_out(painted(c, 32, 32), np.tri(32, dtype=bool)) for c in COLORS]
    tokens = tokenizer(
        [f"a photo of a {c} object" for c in COLORS], padding=True, return_tensors="pt"
    )
    pixels = processor(images=pictures, return_tensors="pt")
    optimiser = torch.optim.AdamW(clip.parameters(), lr=3e-3)
    for _ in range(steps):
        logits = clip(**tokens, **pixels).logits_per_image
        target = torch.arange(len(COLORS))
        loss = nn.functional.cross_entropy(logits, target)
        loss = loss + nn.functional.cross_entropy(logits.T, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return clip.eval()


def test_a_clip_that_has_learnt_its_colours_names_those_of_masked_objects(parts):
    namer = ColorNamer(learnt(*parts), *parts[1:])
    others = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    mask = np.tri(32, dtype=bool)
    for color in COLORS:
        picture = np.where(mask[..., None], painted(color, 32, 32), others)
        assert namer(picture, mask, "object") == color
