"""A backbone that wants to know its prompts is told all of them, in time."""

import pytest

from runs import run
from toy import ToyBackbone, ToyOptions, toy_host


class Listener(ToyBackbone):
    """Remembers, in order, what it was told and what it was asked for."""

    def __init__(self, options: ToyOptions) -> None:
        super().__init__(options)
        self.told: set[str] = set()
        self.asked: list[tuple[str, bool]] = []

    def prepare(self, texts):
        self.told |= set(texts)

    def encode(self, prompts, height, width):
        self.asked += [(prompt.text, prompt.text in self.told) for prompt in prompts]
        return super().encode(prompts, height, width)


@pytest.mark.parametrize("size", [3, 50])
def test_every_prompt_that_is_encoded_was_told_before_and_no_other(size, tmp_path):
    listeners = []

    def listener(options: ToyOptions) -> Listener:
        listeners.append(Listener(options))
        return listeners[-1]

    host = toy_host(listener=("backbones", listener))
    prompts = {"train": {"use": "words", "size": size}, "eval": {"use": "words", "size": 2}}
    run(tmp_path / "run", host=host, backbone={"use": "listener"}, prompts=prompts)
    (backbone,) = listeners
    assert backbone.asked
    assert all(told for _, told in backbone.asked)
    assert backbone.told == {text for text, _ in backbone.asked}
