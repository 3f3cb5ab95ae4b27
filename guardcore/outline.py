"""What a backbone would be, without its weights: the contract behind ``guardcore plan``.

A backbone's options may have one optional method beside their fields::

    class MyOptions(Options):
        def outline(self) -> Outline: ...

It builds the same backbone on torch's ``meta`` device, where a tensor has a shape and a precision
but no memory. The core runs its ``velocity`` and ``decode`` there and counts; so an outline holds
no estimate of its own, only what lies in memory besides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from guardcore.components import Backbone
from guardcore.condition import Condition

if TYPE_CHECKING:
    from torch.nn import Module


@dataclass(frozen=True)
class Part:
    """One module of a backbone.

    Attributes:
        module: On the ``meta`` device.
        held: Bytes of its frozen weights that lie on the device during a run.
        note: In which precision, and where the rest is: ``bfloat16``, ``4bit, block by block``.
    """

    module: Module
    held: int
    note: str


@dataclass(frozen=True)
class Saving:
    """A change of the config that makes a run smaller.

    Attributes:
        settings: Config paths with their values: ``{"backbone.gradient_checkpointing": True}``.
        cost: What it costs, in a few words.
        smaller: What of a run it makes smaller: ``weights`` (what lies still), the work of an
            ``update`` or of a ``decode``, or ``all``.
        last_resort: Whether a smaller ``rollout.batch_size`` is tried before it.
    """

    settings: Mapping[str, bool | int | str | None]
    cost: str
    smaller: Literal["weights", "update", "decode", "all"]
    last_resort: bool = False


@dataclass(frozen=True)
class Outline:
    """A backbone on the ``meta`` device, and what it keeps in memory.

    Attributes:
        backbone: Its ``velocity``, ``decode``, ``trainable`` and ``latent_shape`` are called, with
            and without gradients; ``encode`` and ``schedule`` are not.
        parts: Its modules, in the order in which they are printed.
        condition: From rows, height and width (pixels) to what ``encode`` would return.
        savings: What its options can do about memory, the cheapest first.
        prepare_bytes: What is on the device besides while the prompts are embedded before the
            first iteration, and gone in it.
        reference_bytes: What ``reference()`` holds beside the trained weights, on the device.
    """

    backbone: Backbone
    parts: Mapping[str, Part]
    condition: Callable[[int, int, int], Condition]
    savings: Sequence[Saving] = ()
    prepare_bytes: int = 0
    reference_bytes: int = 0
