"""Each law of a reward, and a reward that breaks it and no law before it."""

import re
import threading

import pytest
import torch

from guardcore import GuardcoreError, Prompt
from guardcore.testing import check_component, check_reward
from guardcore.testing.pictures import DRAWN, EXTREME, Batch
from laws import broken


class Redness:
    """Sound: the red channel's mean."""

    def __init__(self):
        self.closed = 0
        self.thread = threading.current_thread()

    def judge(self, images, prompts):
        return images[:, 0].mean((1, 2))

    def __call__(self, images, prompts):
        return self.judge(images, prompts)

    def close(self):
        self.closed += 1


def test_a_sound_reward_passes_and_is_closed():
    reward = Redness()
    check_reward(reward)
    assert reward.closed == 2  # a second time does no harm


class Column(Redness):
    def judge(self, images, prompts):
        return images[:, :1].mean((2, 3))


class Numbers(Redness):
    def judge(self, images, prompts):
        return images.mean((1, 2, 3)).tolist()


class Logarithm(Redness):
    def judge(self, images, prompts):
        return images.amin((1, 2, 3)).log()  # minus infinity: the gradient image has a 0


class Contrast(Redness):
    def judge(self, images, prompts):
        grey = images.mean(1).flatten(1)
        return (grey - grey.mean(1, keepdim=True)).div(grey.std(1, keepdim=True)).amax(1)


class Homebody(Redness):
    def judge(self, images, prompts):
        if threading.current_thread() is not self.thread:
            raise RuntimeError("created in another thread")
        return images.mean((1, 2, 3))


class Moody(Redness):
    def judge(self, images, prompts):
        return images.mean((1, 2, 3)) + 0.01 * torch.rand(len(images))


class Sorted(Redness):
    def judge(self, images, prompts):
        return images[:, 0].mean((1, 2)).sort().values


class Centred(Redness):
    """A score within its batch: what group-relative advantages do later, and better."""

    def judge(self, images, prompts):
        scores = images[:, 0].mean((1, 2))
        return scores - scores.mean() if len(scores) > 1 else scores


class FirstPrompt(Redness):
    def judge(self, images, prompts):
        return images.mean((1, 2, 3)) + len(prompts[0].text)


class Hasty(Redness):
    def judge(self, images, prompts):
        scores = images[:, 0].mean((1, 2))
        images.clamp_(0.2, 0.8)
        return scores


class Annotating(Redness):
    def judge(self, images, prompts):
        scores = images[:, 0].mean((1, 2))
        for prompt, score in zip(prompts, scores.tolist(), strict=True):
            prompt.metadata["score"] = score
        return scores


class Clinging(Redness):
    def close(self):
        super().close()
        if self.closed > 1:
            raise ValueError("closed already")


BROKEN = [
    (Column, "one-number-an-image", r"expected one number an image, \[1\], received \[1, 1\]"),
    (Numbers, "one-number-an-image", "received a list"),
    (Logarithm, "finite", r"-inf"),
    (Contrast, "bad-images", r"nan\] \(black\)"),
    (Homebody, "own-thread", "RuntimeError: created in another thread"),
    (Moody, "deterministic", "and then"),
    (Sorted, "images-in-order", "in reverse order"),
    (Centred, "batch-split", "one at a time"),
    (Hasty, "inputs-left-alone", "changed the images in place"),
    (Annotating, "inputs-left-alone", "changed the prompts"),
    (Clinging, "close", "closed already"),
]


@pytest.mark.parametrize(("reward", "law", "reason"), BROKEN)
def test_a_reward_that_breaks_one_law_is_told_which(reward, law, reason):
    error = broken(check_reward, reward())
    assert error.law == law
    assert str(error).startswith(f"reward {reward.__name__!r} breaks the law")
    assert re.search(reason, error.reason)


def test_a_score_that_depends_on_anothers_prompt_is_found():
    assert broken(check_reward, FirstPrompt()).law in ("images-in-order", "batch-split")


def test_the_smallest_case_is_two_images_for_a_coupled_batch():
    assert broken(check_reward, Centred()).case == "disc, square at 64×64"


def test_a_reward_without_close_is_told_so():
    assert broken(check_reward, lambda images, prompts: images.mean((1, 2, 3))).law == "methods"


@pytest.mark.parametrize("error", [ValueError, GuardcoreError])
def test_a_size_may_be_refused_but_not_answered_wrongly(error):
    class Picky(Redness):
        def judge(self, images, prompts):
            if images.shape[2] != images.shape[3]:
                raise error("expected square images")
            return super().judge(images, prompts)

    class Confused(Redness):
        def judge(self, images, prompts):
            return images[:, 0].mean(1).reshape(-1, images.shape[2]).mean(1)

    check_reward(Picky())
    assert broken(check_reward, Confused()).law == "other-sizes"


def test_a_judge_in_half_precision_passes():
    class Half(Redness):
        def judge(self, images, prompts):
            # rounds with the batch's size, as another matrix shape does
            rounding = 1 + 2**-9 * (len(images) % 3 - 1)
            return (super().judge(images, prompts) * rounding).bfloat16()

    check_reward(Half())


def test_prompts_of_ones_own_are_judged_by():
    class Wordy(Redness):
        def judge(self, images, prompts):
            return torch.tensor([float(prompt.metadata["words"]) for prompt in prompts])

    check_reward(Wordy(), prompts=[Prompt("a cat", {"words": 2}), Prompt("cat", {"words": 1})])
    assert "KeyError" in broken(check_reward, Wordy()).reason


def test_a_broken_reward_is_closed_all_the_same():
    reward = Column()
    broken(check_reward, reward)
    assert reward.closed


def test_the_pictures_lie_in_the_unit_interval_and_differ():
    images = Batch((*DRAWN, *EXTREME), 16, 24).images
    assert images.shape == (len(DRAWN) + len(EXTREME), 3, 16, 24)
    assert images.dtype == torch.float32
    assert 0 <= images.min() <= images.max() <= 1
    flat = images.flatten(1)
    assert torch.cdist(flat, flat).fill_diagonal_(1).min() > 0.5


BUILT_IN = ["jpeg-size", "drawn-likeness", "geneval"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_our_own_rewards_pass(name):
    check_component("reward", name)


def test_our_own_clip_judges_pass():
    check_component("reward", "pickscore", model="tiny-preference")


def test_our_own_reader_passes():
    pytest.importorskip("rapidocr_onnxruntime")
    check_component("reward", "ocr")
