from dataclasses import replace

import pytest
import torch
from rich.progress import Progress
from safetensors.torch import load_file

from guardcore_plugins.tiny_world import train as training
from guardcore_plugins.tiny_world.data import make_corpus
from guardcore_plugins.tiny_world.flow_training import Distillation, flow_loss
from guardcore_plugins.tiny_world.flux_model import WORDS, TinyFlux
from guardcore_plugins.tiny_world.plan import SMOKE, Cosine, Lessons
from guardcore_plugins.tiny_world.scenes import TAGS, captions
from guardcore_plugins.tiny_world.sd3_model import TinySD3
from guardcore_plugins.tiny_world.tokens import MAX_LENGTH, train_tokenizer, train_word_tokenizer

CAPTIONS = [text for tag in TAGS for text in sorted(captions(tag, "train"))]


MODELS = {"sd3": TinySD3, "flux": TinyFlux}


@pytest.fixture(scope="module")
def smoked(tmp_path_factory):
    out = tmp_path_factory.mktemp("smoke")
    training.main(["--smoke", "--out", str(out)])
    return out


@pytest.fixture(scope="module", params=MODELS)
def smoke(request, smoked, load_pipeline):
    return request.param, load_pipeline(smoked / request.param)


def test_a_smoke_training_gives_a_pipeline_that_draws(smoke):
    _, pipeline = smoke
    captions = ["a red circle", "two rings"]
    images = pipeline(captions, height=64, width=64, num_inference_steps=2, output_type="pt").images
    assert images.shape == (2, 3, 64, 64)
    assert images.min() >= 0
    assert images.max() <= 1


@pytest.mark.parametrize("padding", [16, 256])
def test_the_conditioning_in_training_is_the_pipelines(smoke, padding):
    name, pipeline = smoke
    model = MODELS[name](SMOKE.widths, CAPTIONS)
    for part in ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2"):
        setattr(model, part, getattr(pipeline, part))
    text = 'the number "407"'
    unguided = {"do_classifier_free_guidance": False} if name == "sd3" else {}
    more = {"prompt_3": text, **unguided} if name == "sd3" else {}
    expected = pipeline.encode_prompt(
        text, text, max_sequence_length=padding, num_images_per_prompt=1, **more
    )
    given = model.condition(model.token_ids([text]), padding)
    assert torch.equal(given[0], expected[0])
    assert torch.equal(given[1], expected[2 if name == "sd3" else 1])


def test_the_pipeline_loads_in_float32(smoke):
    _, pipeline = smoke
    parts = (pipeline.transformer, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2)
    assert {part.dtype for part in parts} == {torch.float32}


def test_distillation_is_flow_guidance_in_one_forward():
    """A student that answers the guided velocity has no loss, one that doesn't look has some."""
    torch.manual_seed(0)
    teacher = TinyFlux(SMOKE.widths, CAPTIONS)
    torch.nn.init.normal_(teacher.transformer.proj_out.weight)
    for block in (
        *teacher.transformer.transformer_blocks,
        *teacher.transformer.single_transformer_blocks,
    ):
        for norm in (getattr(block, "norm1", None), getattr(block, "norm", None)):
            if norm is not None:
                torch.nn.init.normal_(norm.linear.weight, std=0.2)
    torch.nn.init.normal_(teacher.transformer.norm_out.linear.weight, std=0.2)
    distillation = Distillation(teacher)
    ids = teacher.token_ids(["a red circle", "two rings"])
    x0 = torch.randn(2, 16, 8, 8)

    def guided(x, sigma, ids, padding, scale):
        right = teacher(x, sigma, ids, padding)
        empty = teacher(x, sigma, distillation.empty.expand_as(ids), padding)
        return (1 - scale.view(-1, 1, 1, 1)) * empty + scale.view(-1, 1, 1, 1) * right

    def blind(x, sigma, ids, padding, scale):
        return teacher(x, sigma, ids, padding)

    losses = [
        distillation(student, x0, ids, WORDS, torch.Generator().manual_seed(1)).item()
        for student in (guided, blind)
    ]
    assert losses[0] < 1e-10
    assert losses[1] > 1e-4


def test_the_flow_loss_is_zero_for_the_true_velocity():
    """With one picture the velocity is (x - x0)/sigma."""
    x0 = torch.randn(3, 16, 8, 8)

    def true(x, sigma, ids, padding):
        return (x - x0) / sigma.view(-1, 1, 1, 1)

    loss = flow_loss(true, x0, torch.zeros(3, 1), 1, torch.Generator().manual_seed(0))
    assert loss.item() < 1e-6


def test_every_caption_fits_the_tokenizer_and_no_text_is_unknown():
    tokenizer = train_tokenizer(CAPTIONS)
    longest = max(len(ids) for ids in tokenizer(CAPTIONS).input_ids)
    assert longest <= MAX_LENGTH
    ids = tokenizer("żółw ☂").input_ids
    assert ids.count(tokenizer.eos_token_id) == 1
    assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == "żółw☂"


def test_every_caption_fits_the_word_tokenizer_and_only_strange_letters_are_unknown():
    tokenizer = train_word_tokenizer(CAPTIONS)
    rows = tokenizer(CAPTIONS).input_ids
    assert max(len(ids) for ids in rows) <= WORDS
    assert all(tokenizer.unk_token_id not in ids for ids in rows)
    assert tokenizer.tokenize("a red circle") == ["\u2581a", "\u2581red", "\u2581circle"]
    strange = tokenizer("a \u0142 Zebra!").input_ids
    assert strange.count(tokenizer.unk_token_id) == 1


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
        SMOKE,
        vae_steps=4,
        sd3=Lessons((Cosine(3, 1e-3, 1), Cosine(1, 1e-3, 1))),
        flux=Lessons((Cosine(4, 1e-3, 1),)),
        export_every=9,
    )

    class KillError(Exception):
        pass

    def run(folder):
        with Progress(disable=True) as progress:
            training.train(plan, folder, folder / "work", progress)
        return {
            f"{path.stem} {name}": tensor
            for path in (folder / "work").glob("*.safetensors")
            for name, tensor in load_file(path).items()
        }

    def kill_at(phase, step):
        def report(self, name, done, total, loss):
            if (name, done) == (phase, step):
                raise KillError

        monkeypatch.setattr(training.ProgressReport, "__call__", report)

    undisturbed = run(tmp_path / "one")
    for moment in (("vae", 3), ("sd3", 3), ("flux", 3), ("flux-guidance", 1)):
        with monkeypatch.context():
            kill_at(*moment)
            with pytest.raises(KillError):
                run(tmp_path / "two")
    monkeypatch.undo()
    resumed = run(tmp_path / "two")
    assert undisturbed.keys() == resumed.keys()
    assert all(torch.equal(undisturbed[name], resumed[name]) for name in resumed)
