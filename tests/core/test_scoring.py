import pytest
import torch

from guardcore import GuardcoreError, Prompt
from guardcore.errors import ComponentError
from guardcore.scoring import score

IMAGES = torch.linspace(0, 1, 3 * 3 * 4).reshape(3, 3, 2, 2)
PROMPTS = [Prompt("a cat"), Prompt("a dog"), Prompt("a cow")]


def scored(reward):
    return score("mine", reward, IMAGES, PROMPTS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_every_image_is_scored_in_float64(dtype):
    found = scored(lambda images, prompts: images.amax((1, 2, 3)).to(dtype))
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx([11 / 35, 23 / 35, 1.0], abs=5e-4)


def test_a_reward_sees_images_and_prompts_in_one_order():
    lengths = scored(lambda images, prompts: torch.tensor([float(len(p.text)) for p in prompts]))
    assert lengths.tolist() == [5.0, 5.0, 5.0]


def test_a_reward_is_called_without_gradient():
    def reward(images, prompts):
        assert not torch.is_grad_enabled()
        return images.mean((1, 2, 3))

    assert not scored(reward).requires_grad


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_reported_with_its_own_prompt(value):
    def reward(images, prompts):
        return torch.tensor([0.5, value, 0.5])

    with pytest.raises(ComponentError, match=rf"reward 'mine' returned {value} for prompt 'a dog'"):
        scored(reward)


@pytest.mark.parametrize(
    ("returned", "received"),
    [
        (torch.ones(3, 1), r"\[3, 1\]"),
        (torch.ones(2), r"\[2\]"),
        (torch.tensor(1.0), r"\[\]"),
        ([1.0, 1.0, 1.0], "list"),
        (None, "NoneType"),
    ],
)
def test_another_shape_is_reported_with_what_was_received(returned, received):
    with pytest.raises(ComponentError, match=rf"'mine'.*\[3\], received {received}; .*'a cat'"):
        scored(lambda images, prompts: returned)


def test_a_reward_that_raises_is_named_with_its_reason_and_prompt():
    def reward(images, prompts):
        raise ZeroDivisionError("no pixels")

    with pytest.raises(ComponentError) as caught:
        scored(reward)
    message = str(caught.value)
    for part in ("'mine'", "ZeroDivisionError: no pixels", "'a cat'"):
        assert part in message
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_reward_that_says_what_the_user_can_mend_is_quoted():
    def reward(images, prompts):
        raise GuardcoreError("install guardcore[ocr]")

    with pytest.raises(GuardcoreError, match="reward 'mine': install guardcore"):
        scored(reward)


def test_memory_that_is_too_small_is_not_the_rewards_fault_but_names_it():
    def reward(images, prompts):
        raise torch.OutOfMemoryError("tried to allocate 2 GiB")

    with pytest.raises(torch.OutOfMemoryError) as caught:
        scored(reward)
    assert caught.value.__notes__ == ["reward 'mine'"]
