"""Which denoising steps are stochastic and trained, iteration by iteration.

Steps outside an iteration's window are the ODE's. ``steps`` is T − 1, the number of steps that can
be trained; step 0 is the noisiest.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from guardcore import Options, Registrar, Window, hookimpl

if TYPE_CHECKING:
    from torch import Generator


class StepsOptions(Options):
    """Options of ``steps``."""

    steps: tuple[int, ...] = Field(
        examples=[[0]], description="stochastic, trained steps, from 0, in any order; at least one"
    )

    def reach(self, steps: int) -> Sequence[int]:
        """Return the steps themselves, rising.

        Raises:
            ValueError: There are not so many, one is named twice, or none is named.
        """
        places = sorted(self.steps)
        wrong = [place for place in places if not 0 <= place < steps]
        if wrong or not places or len(set(places)) < len(places):
            raise ValueError(
                f"expected different steps from 0 to {steps - 1}, received {list(self.steps)}"
            )
        return places


class BlockOptions(Options):
    """Options of ``block``: ``size`` steps in a row, somewhere in ``[from, to)``."""

    size: int = Field(ge=1, examples=[1], description="stochastic, trained steps in a row")
    from_: int = Field(0, ge=0, alias="from", description="first step that may be in the window")
    to: int | None = Field(None, ge=1, description="end of the range, exclusive; null: the last")
    choose: Literal["fixed", "random"] = Field(
        "fixed", description="begin at `from`, or anew at random each iteration"
    )

    def reach(self, steps: int) -> Sequence[int]:
        """Return ``[from, to)``.

        Raises:
            ValueError: The window does not fit into it, or it not into the steps.
        """
        return _range(self.size, self.from_, self.to, steps)


class SlidingOptions(Options):
    """Options of ``sliding``; the defaults are MixGRPO's, which samples in 25 steps."""

    size: int = Field(4, ge=1, examples=[1], description="stochastic, trained steps in a row, w")
    from_: int = Field(0, ge=0, alias="from", description="where the window begins, l")
    to: int | None = Field(None, ge=1, description="end of the range, exclusive; null: the last")
    every: int = Field(25, ge=1, description="iterations between two moves, tau")
    stride: int = Field(1, ge=1, description="steps that it moves, s")
    decay: float = Field(
        0.0, ge=0, description="k: from `decay_from` on every step shortens `every` by exp(-k)"
    )
    decay_from: int = Field(13, ge=0, description="step up to which `every` is as given")
    end: Literal["stay", "restart"] = Field(
        "stay", description="at the last place: stay there, or begin again at `from`"
    )

    def reach(self, steps: int) -> Sequence[int]:
        """Return ``[from, to)``.

        Raises:
            ValueError: The window does not fit into it, or it not into the steps.
        """
        return _range(self.size, self.from_, self.to, steps)


def _range(size: int, first: int, end: int | None, steps: int) -> range:
    end = steps if end is None else end
    if end > steps or first + size > end:
        raise ValueError(f"a window of {size} does not fit into steps {first} to {end - 1}")
    return range(first, end)


def every_step(options: Options) -> Window:
    """Every step but the last one, in every iteration."""

    def window(iteration: int, steps: int, generator: Generator) -> Sequence[int]:
        return range(steps)

    return window


def chosen_steps(options: StepsOptions) -> Window:
    """The same steps in every iteration; a list in a config means this one."""

    def window(iteration: int, steps: int, generator: Generator) -> Sequence[int]:
        return options.reach(steps)

    return window


def block(options: BlockOptions) -> Window:
    """Steps in a row, at a fixed place or at a random one in each iteration.

    A mapping without ``use`` in a config means this one. At random it is MixGRPO's ``random``.
    """

    def window(iteration: int, steps: int, generator: Generator) -> Sequence[int]:
        reach = options.reach(steps)
        return reach[_first(options, len(reach), generator) :][: options.size]

    return window


def _first(options: BlockOptions, steps: int, generator: Generator) -> int:
    if options.choose == "fixed":
        return 0
    import torch

    return int(torch.randint(steps - options.size + 1, (), generator=generator))


def sliding(options: SlidingOptions) -> Window:
    """MixGRPO's window: it slides from the noisy end to the clean one as training goes on.

    ``W(l) = {l, …, l + w − 1}``, and every tau iterations ``l = min(l + s, end − w)``. With a
    ``decay`` it hurries through the clean steps: at ``l`` it stays
    ``tau(l) = ceil(tau·exp(−k·max(0, l − decay_from)))`` iterations.

    Source: MixGRPO (arXiv 2507.21802), Algorithm 1; ``decay`` and ``end: restart`` as in its
    published code, whose ``exp_decay`` has k = 0.1.
    """

    def window(iteration: int, steps: int, generator: Generator) -> Sequence[int]:
        reach = options.reach(steps)
        places = range(len(reach) - options.size)[:: options.stride]
        firsts = [reach[place] for place in (*places, len(reach) - options.size)]
        moves = list(accumulate(_stay(options, first) for first in firsts))
        elapsed = iteration - 1
        elapsed = elapsed % moves[-1] if options.end == "restart" else elapsed
        first = firsts[min(bisect_right(moves, elapsed), len(firsts) - 1)]
        return range(first, first + options.size)

    return window


def _stay(options: SlidingOptions, first: int) -> int:
    """Return tau(l), in iterations."""
    return math.ceil(options.every * math.exp(-options.decay * max(0, first - options.decay_from)))


@hookimpl
def guardcore_register_windows(register: Registrar) -> None:
    """Register the four windows."""
    register("all", every_step)
    register("steps", chosen_steps)
    register("block", block)
    register("sliding", sliding)
