"""GenEval's whole path, detector, colour and rule, on a small Mask2Former and CLIP from configs."""

import pytest
import torch
from pydantic import ValidationError

from guardcore import GuardcoreError, Prompt, create
from guardcore_plugins.rewards.color import COLORS
from guardcore_plugins.rewards.geneval import Detection, GenEval, GenEvalOptions, geneval
from judges import save_clip, save_mask2former

IMAGES = torch.rand(3, 3, 48, 40, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judges")
    return {
        "detector": "mask2former",
        "model": str(save_mask2former(folder / "mask2former")),
        "clip": str(save_clip(folder / "clip")),
        "device": "cpu",
        "shortest_side": 64,
    }


@pytest.fixture(scope="module")
def judge_all(models):
    """The reward with thresholds so low that everything which the random detector says counts."""
    return geneval(
        GenEvalOptions(**models, credit="partial", threshold=0.02, counting_threshold=0.02)
    )


def asking(*include, tag="single_object", **more):
    return Prompt("a prompt", {"tag": tag, "include": list(include), **more})


def want(label, count=1, **more):
    return {"class": label, "count": count, **more}


def test_the_published_thresholds_let_nothing_of_a_random_detector_pass(models):
    reward = create("reward", "geneval", **models)
    prompts = [asking(want("dog")), asking(want("dog"), tag="counting"), asking(want("tv"))]
    assert reward(IMAGES, prompts).tolist() == [0, 0, 0]
    reward.close()


def test_objects_counts_and_exclusions_are_judged(judge_all):
    """Each of 10 queries is an object of each of the 4 classes."""
    scores = judge_all(
        IMAGES,
        [
            asking(want("computer mouse", 10), want("dog")),
            asking(want("dog", 10), tag="counting", exclude=[want("dog", 11)]),
            asking(want("dog"), exclude=[want("tv", 10)]),
        ],
    )
    assert scores.tolist() == pytest.approx([1, 1, 10 / 11])


def test_the_colour_is_clips(judge_all):
    named = [
        [judge_all(image[None], [asking(want("dog", color=c))]).item() for c in COLORS]
        for image in IMAGES
    ]
    assert [sorted(scores) for scores in named] == [[0.5] * 9 + [1.0]] * 3  # one of ten is right


def test_a_position_is_judged_by_the_boxes(models):
    """Random masks cover all of the picture, so nothing stands beside anything."""
    reward = geneval(GenEvalOptions(**models, threshold=0.02))
    prompt = asking(want("dog"), want("tv", position=["left of", 0]), tag="position")
    assert reward(IMAGES[:1], [prompt]).tolist() == [0]
    assert reward(IMAGES[:1], [asking(want("dog"), want("tv"))]).tolist() == [1]


def test_scores_do_not_depend_on_the_batch(models, judge_all):
    prompts = [asking(want("dog", 3, color=c), exclude=[want("tv", 5)]) for c in COLORS[:3]]
    apart = [judge_all(IMAGES[i : i + 1], prompts[i : i + 1]) for i in range(3)]
    assert torch.equal(judge_all(IMAGES, prompts), torch.cat(apart))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_judges_too(models, dtype):
    options = GenEvalOptions(**models, dtype=dtype, threshold=0.02, batch_size=2)
    prompts = [asking(want("dog", 10, color="red")), asking(want("tv", 11)), asking(want("person"))]
    assert geneval(options)(IMAGES, prompts)[1:].tolist() == [0, 1]


def test_nothing_is_taken_from_the_global_generator(models):
    torch.manual_seed(1)
    reward = geneval(GenEvalOptions(**models))
    before = torch.get_rng_state()
    reward(IMAGES[:1], [asking(want("dog", color="red"))])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_class_that_the_detector_does_not_know_is_refused_with_a_hint(judge_all):
    with pytest.raises(GuardcoreError, match=r"'a prompt'.*no class 'computer mose'; did you mean"):
        judge_all(IMAGES[:1], [asking(want("computer mose"))])
    with pytest.raises(GuardcoreError, match=r"no class 'zebra'$"):
        judge_all(IMAGES[:1], [asking(want("dog"), exclude=[want("zebra")])])


# Loading


def test_a_directory_that_is_not_there_is_a_mistake_in_the_config():
    with pytest.raises(ValidationError, match=r"model\s.*no directory nowhere"):
        GenEvalOptions(model="./nowhere")
    with pytest.raises(ValidationError, match="neither a directory nor a hub name"):
        GenEvalOptions(clip="a b c")


def test_a_directory_without_a_model_is_a_mistake_in_the_config(tmp_path):
    with pytest.raises(ValidationError, match=r"no config\.json in"):
        GenEvalOptions(model=str(tmp_path))


def test_the_clip_in_the_detectors_place_is_one_line(models):
    with pytest.raises(GuardcoreError) as caught:
        geneval(GenEvalOptions(**(models | {"model": models["clip"]})))
    assert str(caught.value).startswith("reward geneval.model: ")
    assert "\n" not in str(caught.value)


def test_what_the_hub_does_not_give_is_one_line_with_the_remedy(models, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(GuardcoreError) as caught:
        geneval(GenEvalOptions(**(models | {"model": "nobody/nothing"})))
    message = str(caught.value)
    assert "\n" not in message
    assert "cannot load 'nobody/nothing'" in message
    assert "https://huggingface.co/nobody/nothing" in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="about a machine without CUDA")
def test_a_device_that_is_not_there_is_told():
    with pytest.raises(GuardcoreError, match=r"reward geneval\.device: .*0 CUDA"):
        geneval(GenEvalOptions(detector="mask2former", device="cuda"))


# A detector of one's own


class Always:
    """Finds one red cup in any picture."""

    labels = ("cup", "dog")

    def __call__(self, images):
        return [[Detection("cup", (0, 0, 4, 4), 0.6, "red")] for _ in images]


def test_a_detector_of_ones_own_with_its_own_thresholds():
    prompts = [asking(want("cup", color="red")), asking(want("cup"), tag="counting")]
    assert GenEval(Always())(IMAGES[:2], prompts).tolist() == [1, 0]
    assert GenEval(Always(), threshold=0.7)(IMAGES[:2], prompts).tolist() == [0, 0]
    assert GenEval(Always(), counting_threshold=0.5)(IMAGES[:2], prompts).tolist() == [1, 1]


def test_prompts_are_checked_before_images_are_looked_at():
    def detector(images):
        raise AssertionError("looked before the prompts were checked")

    with pytest.raises(GuardcoreError, match="'tag'"):
        GenEval(detector)(IMAGES[:2], [asking(want("cup")), Prompt("a cat")])
