import subprocess
import sys
from collections import Counter
from typing import get_args

import pytest
from pydantic import ValidationError

from guardcore_plugins.tiny_world.plugin import Tag, TinyWorldOptions, tiny_world_prompts
from guardcore_plugins.tiny_world.scenes import TAGS, TASKS, captions


def prompts(**options):
    return tiny_world_prompts(TinyWorldOptions(**options))


def test_tags_take_turns():
    counts = Counter(prompt.metadata["tag"] for prompt in prompts(size=60))
    assert counts == dict.fromkeys(TASKS, 10)


def test_tasks_can_be_named():
    assert {p.metadata["tag"] for p in prompts(task="digits", size=9)} == {"digits"}
    assert {p.metadata["tag"] for p in prompts(task="all", size=14)} == set(TAGS)
    assert {p.metadata["tag"] for p in prompts(task=["colors"], size=9)} == {"colors"}


@pytest.mark.parametrize("split", ["train", "eval"])
def test_prompts_are_of_their_split(split):
    for prompt in prompts(split=split, task="all", size=300):
        assert prompt.text in captions(prompt.metadata["tag"], split)
        assert prompt.text == prompt.metadata["prompt"]


def test_the_choice_follows_from_the_seed():
    assert prompts(size=40, seed=1) == prompts(size=40, seed=1)
    assert prompts(size=40, seed=1) != prompts(size=40, seed=2)
    assert prompts(size=40, seed=1) == prompts(size=80, seed=1)[:40]


def test_the_options_know_all_tags():
    assert get_args(Tag) == TAGS


@pytest.mark.parametrize("wrong", [{"task": "sizes"}, {"split": "test"}, {"size": 0}, {"sise": 1}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ValidationError):
        TinyWorldOptions(**wrong)


def test_the_plugin_module_is_light():
    heavy = ("torch", "numpy", "scipy", "PIL", "diffusers")
    code = (
        "import sys, guardcore_plugins.tiny_world.plugin\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
