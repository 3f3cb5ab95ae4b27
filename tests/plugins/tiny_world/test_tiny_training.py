from dataclasses import replace

import pytest
import torch
from rich.progress import Progress
from safetensors.torch import load_file

from guardcore_plugins.tiny_world import train as training
from guardcore_plugins.tiny_world.data import make_corpus
from guardcore_plugins.tiny_world.model import condition, token_ids
from guardcore_plugins.tiny_world.plan import SMOKE, Cosine
from guardcore_plugins.tiny_world.scenes import TAGS, captions
from guardcore_plugins.tiny_world.tokens import MAX_LENGTH, train_tokenizer

CAPTIONS = [text for tag in TAGS for text in sorted(captions(tag, "train"))]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory, load_pipeline):
    out = tmp_path_factory.mktemp("smoke") / "sd3"
    training.main(["--smoke", "--out", str(out)])
    return load_pipeline(out)


def test_a_smoke_training_gives_a_pipeline_that_draws(smoke):
    captions = ["a red circle", "two rings"]
    images = smoke(captions, num_inference_steps=2, output_type="pt").images
    assert images.shape == (2, 3, 64, 64)
    assert images.min() >= 0
    assert images.max() <= 1


def test_the_conditioning_in_training_is_the_pipelines(smoke):
    text = 'the number "407"'
    expected = smoke.encode_prompt(text, text, text, do_classifier_free_guidance=False)
    ids = token_ids(smoke.tokenizer, [text])
    given = condition((smoke.text_encoder, smoke.text_encoder_2), ids, 256)
    assert torch.equal(given[0], expected[0])
    assert torch.equal(given[1], expected[2])


def test_the_pipeline_loads_in_float32(smoke):
    parts = (smoke.transformer, smoke.vae, smoke.text_encoder, smoke.text_encoder_2)
    assert {part.dtype for part in parts} == {torch.float32}


def test_every_caption_fits_the_tokenizer_and_no_text_is_unknown():
    tokenizer = train_tokenizer(CAPTIONS)
    longest = max(len(ids) for ids in tokenizer(CAPTIONS).input_ids)
    assert longest <= MAX_LENGTH
    ids = tokenizer("żółw ☂").input_ids
    assert ids.count(tokenizer.eos_token_id) == 1
    assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == "żółw☂"


def test_a_digit_is_a_token():
    tokenizer = train_tokenizer(CAPTIONS)
    assert tokenizer.tokenize('the number "407"')[-5:] == [
        '"</w>',
        "4</w>",
        "0</w>",
        "7</w>",
        '"</w>',
    ]


def test_the_corpus_follows_from_the_seed_and_holds_nothing_out():
    corpus = make_corpus(3, 20)
    assert corpus.captions == make_corpus(3, 40).captions[:20]
    train = {text for tag in TAGS for text in captions(tag, "train")}
    assert {text for row in [corpus.captions, *corpus.wrong] for text in row} <= train


def test_a_killed_training_ends_as_if_it_never_was(tmp_path, monkeypatch):
    plan = replace(
        SMOKE, vae_steps=4, flow_cosines=(Cosine(3, 1e-3, 1), Cosine(1, 1e-3, 1)), export_every=9
    )

    class KillError(Exception):
        pass

    def run(folder):
        with Progress(disable=True) as progress:
            training.train(plan, folder / "sd3", folder / "work", progress)
        return load_file(folder / "work" / "flow.safetensors")

    def kill_at(phase, step):
        def report(self, name, done, total, loss):
            if (name, done) == (phase, step):
                raise KillError

        monkeypatch.setattr(training.ProgressReport, "__call__", report)

    undisturbed = run(tmp_path / "one")
    for moment in (("vae", 3), ("flow", 3)):
        with monkeypatch.context():
            kill_at(*moment)
            with pytest.raises(KillError):
                run(tmp_path / "two")
    monkeypatch.undo()
    resumed = run(tmp_path / "two")
    assert undisturbed.keys() == resumed.keys()
    assert all(torch.equal(undisturbed[name], resumed[name]) for name in resumed)
