"""The tiny preference model: its data, its training, and how often the shipped one is right."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.progress import Progress
from safetensors import safe_open
from safetensors.torch import load_file

from guardcore import Prompt
from guardcore.binding import bind
from guardcore.evaluation import evaluate
from guardcore.inference import trained
from guardcore.layers import Overrides, parse_config
from guardcore.plugins import PluginHost
from guardcore_cli.loading import embedded_profile
from guardcore_plugins.rewards.clip_source import locate
from guardcore_plugins.rewards.pickscore import PickScoreOptions, pickscore
from guardcore_plugins.tiny_world import preference
from guardcore_plugins.tiny_world.preference_accuracy import measure
from guardcore_plugins.tiny_world.preference_data import as_images, compare, varied
from guardcore_plugins.tiny_world.preference_training import (
    SMOKE,
    content,
    contrastive_loss,
    preference_loss,
)
from guardcore_plugins.tiny_world.scenes import TAGS, captions
from guardcore_plugins.tiny_world.spoiling import SPOILERS, VISIBLE
from guardcore_plugins.tiny_world.train import ProgressReport

MEBIBYTE = 2**20
HELD_OUT = frozenset().union(*(captions(tag, "eval") for tag in TAGS))


def drawn(split, size=150):
    return [compare(np.random.default_rng([5, k]), split) for k in range(size)]


def test_captions_are_of_the_split_and_mistakes_of_training():
    assert all(c.caption in HELD_OUT for c in drawn("eval"))
    assert not any(c.caption in HELD_OUT for c in drawn("train"))
    assert not any(c.mistaken in HELD_OUT for c in drawn("eval"))


def test_every_way_of_spoiling_comes_and_can_be_seen():
    comparisons = drawn("train")
    assert {c.kind for c in comparisons} == set(SPOILERS)
    for c in comparisons:
        assert c.spoilt.shape == (64, 64, 3)
        assert c.spoilt.dtype == np.uint8
        assert np.abs(c.spoilt.astype(float) - c.right).mean() >= VISIBLE


def test_variation_is_small_and_follows_from_the_generator():
    images = as_images([c.right for c in drawn("train", 8)])
    one, two = (varied(images, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, two)
    assert 0 < (one - images).abs().mean() < 0.05
    assert one.min() >= 0
    assert one.max() <= 1


def test_the_preference_loss_is_ln_2_for_equal_scores_and_falls_with_the_gap():
    assert float(preference_loss(torch.zeros(3, 2))) == pytest.approx(np.log(2))
    gap = torch.tensor([[1.0, 0.0]])
    assert float(preference_loss(gap)) == pytest.approx(np.log(1 + np.exp(-1)))


def test_images_that_mean_the_same_are_no_negatives():
    same = ["a ring", "a photo of a ring"]
    assert [content(text) for text in same] == ["a ring", "a ring"]
    assert float(contrastive_loss(torch.zeros(2, 2), same)) == 0
    assert float(contrastive_loss(torch.zeros(2, 2), ["a ring", "two rings"])) == pytest.approx(
        np.log(2)
    )


def test_a_smoke_training_gives_a_model_that_the_reward_loads(tmp_path):
    out = tmp_path / "preference"
    preference.main(["--smoke", "--out", str(out)])
    reward = pickscore(PickScoreOptions(model=str(out), device="cpu"))
    scores = reward(as_images([c.right for c in drawn("eval", 3)]), [Prompt("a ring")] * 3)
    assert scores.shape == (3,)
    assert scores.isfinite().all()


def test_a_killed_training_ends_as_if_it_never_was(tmp_path, monkeypatch):
    plan = replace(SMOKE, save_every=1)

    class KillError(Exception):
        pass

    def run(folder):
        with Progress(disable=True) as progress:
            preference.train(plan, folder / "preference", folder / "work", progress)
        return load_file(folder / "preference" / "model.safetensors")

    def kill(self, name, done, total, loss):
        if done == 3:
            raise KillError

    undisturbed = run(tmp_path / "one")
    with monkeypatch.context() as patch:
        patch.setattr(ProgressReport, "__call__", kill)
        with pytest.raises(KillError):
            run(tmp_path / "two")
    resumed = run(tmp_path / "two")
    assert undisturbed.keys() == resumed.keys()
    assert all(torch.equal(undisturbed[name], resumed[name]) for name in resumed)


def test_the_shipped_model_is_small_halved_and_no_pickle():
    files = list(locate("tiny-preference").iterdir())
    assert sum(path.stat().st_size for path in files) <= 3 * MEBIBYTE
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    with safe_open(locate("tiny-preference") / "model.safetensors", "pt") as weights:
        kinds = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
    assert kinds == {"F16"}


def test_the_shipped_model_prefers_what_is_right_on_captions_it_never_saw():
    found = measure("tiny-preference", 400)
    assert found["wrong"]["all"][0] >= 0.9
    assert found["spoilt"]["all"][0] >= 0.95


@pytest.mark.slow
def test_the_shipped_model_knows_every_way_of_spoiling_and_every_task_but_relations():
    found = measure("tiny-preference", 3000)
    tasks = {task: share for task, (share, _) in found["wrong"].items()}
    # half of the mistakes in a position are in the relation, and there it guesses
    assert 0.65 <= tasks.pop("position") <= 0.9
    assert min(share for task, share in tasks.items() if task != "all") >= 0.95
    assert min(share for share, _ in found["spoilt"].values()) >= 0.95


@pytest.mark.slow
def test_the_base_models_right_pictures_score_above_its_wrong_ones():
    rewards = Overrides(reward=["pickscore", "geneval:credit=strict,weight=0"])
    with trained(parse_config(rewards.over(embedded_profile())), None) as run:
        preferred, correct = evaluate(run).scores.values()
    right, wrong = preferred[correct == 1], preferred[correct == 0]
    assert (right[:, None] > wrong).double().mean() >= 0.85  # the area under the ROC curve


@pytest.mark.parametrize("name", ["pickscore", "guardcore:pickscore", "clip-score"])
def test_the_embedded_profile_scores_with_it_when_the_reward_is_only_named(name):
    tree = Overrides(reward=[name]).over(embedded_profile())
    binding = bind(parse_config(tree), PluginHost.discover().registry)
    (bound,) = binding.rewards.values()
    assert bound.options.model == "tiny-preference"
