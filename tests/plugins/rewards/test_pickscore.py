"""PickScore and CLIPScore: the published formula, whatever the batch, from any directory."""

import shutil

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from guardcore import GuardcoreError, Prompt
from guardcore_plugins.rewards import clip_scorer
from guardcore_plugins.rewards.clip_score import ClipScoreOptions, clip_score
from guardcore_plugins.rewards.pickscore import PROCESSOR, PickScoreOptions, pickscore

TEXTS = [
    "a red circle",
    "two blue squares",
    "a red circle",
    "żółw ☂, and words that no caption holds",
    "a very long prompt " * 40,
    "",
]
PICTURES = [
    Image.fromarray(np.random.default_rng(k).integers(0, 256, (90, 70, 3), dtype=np.uint8))
    for k in range(6)
]
IMAGES = torch.from_numpy(np.stack(PICTURES)).permute(0, 3, 1, 2).float() / 255
PROMPTS = [Prompt(text) for text in TEXTS]


@pytest.fixture
def score(clip_on_disk):
    """The scores of all images under some options."""

    def call(images=IMAGES, prompts=PROMPTS, **options):
        reward = pickscore(PickScoreOptions(**{"model": str(clip_on_disk), **options}))
        return reward(images, prompts)

    return call


def test_scores_are_transformers_own(score, reference):
    expected = reference(PICTURES, TEXTS)
    assert expected.std() > 0.5  # apart, or agreement would mean nothing
    given = score()
    assert given.dtype == torch.float32
    assert given.shape == (6,)
    assert (given - expected).abs().max() < 1e-3


def test_divide_by_divides(score):
    assert torch.allclose(score(divide_by=26), score() / 26)


def test_clip_score_is_100_cosines_and_never_below_0(clip_on_disk, reference):
    reward = clip_score(ClipScoreOptions(model=str(clip_on_disk)))
    expected = reference(PICTURES, TEXTS)  # exp(logit_scale) is 100 in this model
    assert (reward(IMAGES, PROMPTS) - expected.clamp(min=0)).abs().max() < 1e-3
    paper = clip_score(ClipScoreOptions(model=str(clip_on_disk), factor=2.5))
    assert torch.allclose(paper(IMAGES, PROMPTS), reward(IMAGES, PROMPTS) / 40)


def test_where_a_cosine_is_negative_clip_score_is_0(clip_on_disk):
    reward = clip_score(ClipScoreOptions(model=str(clip_on_disk)))
    plain = pickscore(PickScoreOptions(model=str(clip_on_disk)))
    many = torch.rand(40, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    prompts = [Prompt(f"{k} things") for k in range(40)]
    signed = plain(many, prompts)
    assert signed.min() < 0 < signed.max()
    assert torch.allclose(reward(many, prompts), signed.clamp(min=0), atol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 4, 32])
def test_no_score_depends_on_how_a_batch_is_split(score, size):
    assert (score(batch_size=size) - score(batch_size=6)).abs().max() <= 1e-6 * 100


def test_no_score_depends_on_its_neighbours(score):
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    turned = score(IMAGES[order], [PROMPTS[k] for k in order])
    assert (turned - score()[order]).abs().max() <= 1e-6 * 100


def test_a_text_is_embedded_once(clip_on_disk, monkeypatch):
    seen = []
    embed = clip_scorer.ClipScorer._embed_text

    def counted(self, text):
        seen.append(text)
        return embed(self, text)

    monkeypatch.setattr(clip_scorer.ClipScorer, "_embed_text", counted)
    reward = pickscore(PickScoreOptions(model=str(clip_on_disk)))
    reward(IMAGES, PROMPTS)
    reward(IMAGES, PROMPTS)
    assert sorted(seen) == sorted(set(TEXTS))


def test_half_precision_is_near(score):
    exact = score()
    assert 0 < (score(dtype="bfloat16") - exact).abs().max() < 0.05 * exact.abs().max()


def test_a_processor_of_its_own_directory_is_used(clip_on_disk, tmp_path, score):
    model, processor = tmp_path / "model", tmp_path / "processor"
    shutil.copytree(clip_on_disk, model)
    processor.mkdir()
    for path in list(model.iterdir()):
        if path.name not in ("config.json", "model.safetensors"):
            path.rename(processor / path.name)
    expected = score()
    assert torch.equal(score(model=str(model), processor=str(processor)), expected)
    # without a name it is the published one, from the hub
    fetched = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            clip_scorer,
            "fetch",
            lambda name, files: fetched.append(name) or (processor if name == PROCESSOR else model),
        )
        assert torch.equal(score(model=str(model)), expected)
    assert fetched == [str(model), PROCESSOR]


def test_what_clip_processor_writes_is_read(clip_on_disk, tmp_path, score):
    expected = score()
    folder = shutil.copytree(clip_on_disk, tmp_path / "model")
    pil = getattr(transformers, "CLIPImageProcessorPil", transformers.CLIPImageProcessor)
    whole = transformers.CLIPProcessor(
        pil.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)
    )
    (folder / "preprocessor_config.json").unlink()
    whole.save_pretrained(folder)
    assert torch.equal(score(model=str(folder)), expected)


def test_clip_score_needs_a_processor_somewhere(clip_on_disk, tmp_path):
    folder = shutil.copytree(clip_on_disk, tmp_path / "model")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(GuardcoreError, match=r"^processor: cannot load .* has no preprocessor_con"):
        clip_score(ClipScoreOptions(model=str(folder)))


@pytest.mark.parametrize(
    ("file", "content", "option"),
    [
        ("model.safetensors", b"junk", "model"),
        ("tokenizer.json", b"{}", "processor"),
        ("preprocessor_config.json", b"{", "processor"),
        ("preprocessor_config.json", b'{"resample": 2}', "processor"),
    ],
)
def test_a_damaged_file_is_one_line(clip_on_disk, tmp_path, file, content, option):
    folder = shutil.copytree(clip_on_disk, tmp_path / "model")
    (folder / file).write_bytes(content)
    with pytest.raises(GuardcoreError, match=f"^{option}: cannot load ") as caught:
        pickscore(PickScoreOptions(model=str(folder)))
    assert "\n" not in str(caught.value)


def test_a_closed_reward_has_let_go_of_its_model(clip_on_disk):
    reward = pickscore(PickScoreOptions(model=str(clip_on_disk)))
    reward.close()
    with pytest.raises(AttributeError):
        reward(IMAGES, PROMPTS)


def test_gradients_stay_out(score):
    assert not score(IMAGES.clone().requires_grad_()).requires_grad
