"""What the example of each kind does, and the command that trains with it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from guardcore.kinds import check_kind


@dataclass(frozen=True)
class Example:
    """The example component of a kind.

    Attributes:
        noun: The kind in one word: what its class or factory is called after the name.
        does: What it is, after "a GuardCore reward:".
        train: The arguments of ``guardcore train``, with ``your-name`` for its name.
        iterations: How many show it at work.
    """

    noun: str
    does: str
    train: tuple[str, ...]
    iterations: int = 1


EXAMPLES = {
    "prompt_source": Example(
        "source", "counting prompts as GenEval asks them", ("--set", "prompts.train=your-name")
    ),
    "backbone": Example(
        "backbone",
        "a colour for every word, the smallest flow model that can be trained",
        ("--backbone", "your-name", "--reward", "pickscore"),  # which judges any image
    ),
    "sampler": Example(
        "sampler",
        "noise in proportion to the noise level",
        ("--sampler", "your-name", "--strategy", "ratio-norm"),  # guard is made for flow-sde
    ),
    "window": Example(
        "window",
        "steps drawn at random from the whole trajectory",
        ("--set", "rollout.train_steps=your-name"),
    ),
    "reward": Example("reward", "the contrast of an image", ("--reward", "your-name")),
    "advantage": Example(
        "advantage", "an image's rank within its group", ("--set", "advantage=your-name")
    ),
    "ratio_transform": Example(
        "transform",
        "a trust region with a soft edge",
        ("--ratio", "ratio-norm", "--ratio", "your-name:bound=2e-4"),
    ),
    "gradient_weight": Example(
        "weight", "a power of the noise level", ("--gradient-weight", "your-name")
    ),
    "penalty": Example(
        "penalty",
        "a leash on the velocity's change",
        ("--set", "penalty=[{use: your-name, weight: 0.1}]"),
    ),
    "strategy": Example(
        "strategy",
        "GRPO-Guard with an even gradient",
        ("--strategy", "your-name"),
        iterations=3,  # two to measure the clip range, one with it
    ),
    "tracker": Example(
        "tracker", "a line for every new record", ("--set", "tracker=[console, your-name]")
    ),
}


def train_command(kind: str, name: str) -> str:
    """Return the command that trains the embedded model with the example, for as short as can be.

    Raises:
        GuardcoreError: There is no such kind.
    """
    example = EXAMPLES[check_kind(kind)]
    named = [argument.replace("your-name", name) for argument in example.train]
    short = ["--set", f"train.iterations={example.iterations}"]
    return shlex.join(["guardcore", "train", *named, *short])
