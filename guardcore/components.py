"""What a component of each kind must be. Structural: nobody has to inherit from these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from guardcore.condition import Condition
from guardcore.prompt import Prompt
from guardcore.ratio import RatioTerms, StepContext
from guardcore.schedule import Schedule, Step
from guardcore.transition import Transition

if TYPE_CHECKING:
    from torch import Generator, Tensor
    from torch.nn import Parameter


@runtime_checkable
class PromptSource(Protocol):
    """A sequence of prompts; one per split."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Prompt: ...


@runtime_checkable
class Backbone(Protocol):
    """A flow-matching image model.

    Optional methods: ``guidance(scale)``, a context manager under which guidance has another
    scale (needed for ``evaluate.guidance_scale``); ``blocks()``, the modules to shard;
    ``prepare(texts)``, which is told, before the first iteration and before an evaluation, the
    texts that ``encode`` will be asked for, lazily and with repetitions; ``export(directory, to)
    -> str``, which writes what was trained in the format named ``to`` and returns how that is
    loaded, in one line (needed for ``guardcore export``).
    """

    def encode(self, prompts: Sequence[Prompt], height: int, width: int) -> Condition:
        """Return one row a prompt; sizes in pixels."""

    def schedule(self, steps: int, height: int, width: int) -> Schedule:
        """Return the noise levels of ``steps`` denoising steps."""

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return the shape of one row of latents, as diffusers' pipeline takes them."""

    def velocity(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Return the velocity ``[B, …]`` at ``x [B, …]``, ``sigma [B]``, guidance applied."""

    def decode(self, x: Tensor, condition: Condition) -> Tensor:
        """Return images ``[B, 3, H, W]`` in [0, 1]."""

    def trainable(self) -> Mapping[str, Parameter]:
        """Return what is trained under stable names: the checkpoint's and EMA's keys."""

    def reference(self) -> AbstractContextManager[None]:
        """Inside, ``velocity`` is that of the weights before any training."""

    def save_adapter(self, directory: Path) -> None:
        """Write what was trained in the form that the field's tools load."""

    def load_adapter(self, directory: Path) -> None:
        """Read what ``save_adapter`` wrote."""


@runtime_checkable
class Sampler(Protocol):
    """One denoising step as a distribution. Stateless."""

    def transition(self, velocity: Tensor, x: Tensor, step: Step) -> Transition:
        """Return the Gaussian over the next latents, row by row."""


class Window(Protocol):
    """Which denoising steps of an iteration are stochastic and trained; the others are the ODE's.

    A function of its arguments: the same for equal ones. No state.
    """

    def __call__(self, iteration: int, steps: int, generator: Generator, /) -> Sequence[int]:
        """Return different steps from 0, the noisiest, to ``steps − 1``, rising; at least one.

        Args:
            iteration: Counted from 1.
            steps: How many there are: T − 1, because the last one is never trained.
            generator: On the CPU, derived from (seed, iteration); the only source of chance.

        Raises:
            ValueError: The window does not fit into so many steps.
        """


@runtime_checkable
class Reward(Protocol):
    """A judge of images.

    It is called from a thread of its own while the next images are sampled: one call at a time,
    in the order of the micro-batches.
    """

    def __call__(self, images: Tensor, prompts: Sequence[Prompt], /) -> Tensor:
        """Return one finite number an image ``[B]``, higher is better, in the images' order.

        Images are ``[B, 3, H, W]`` in [0, 1], float32 on the CPU, and all rewards look at the
        same ones: they are not to be changed. A reward that computes elsewhere has a ``device``
        option and moves them itself.
        """

    def close(self) -> None:
        """Release what the reward holds."""


class Advantage(Protocol):
    """From rewards to advantages, relative within groups."""

    def __call__(
        self, rewards: Mapping[str, Tensor], groups: Tensor, weights: Mapping[str, float], /
    ) -> Tensor:
        """Return ``[N]``, or ``[N, S]`` over the S trained steps, for rewards ``[N]`` each."""


class RatioTransform(Protocol):
    """A word on the importance ratio: pure, rows independent, no state."""

    def __call__(self, terms: RatioTerms, context: StepContext, /) -> RatioTerms:
        """Return new terms; the input is left alone."""


class GradientWeight(Protocol):
    """A positive factor on each row's surrogate."""

    def __call__(self, context: StepContext, /) -> Tensor:
        """Return ``[B]``, positive and finite."""


class Penalty(Protocol):
    """A term of the loss that is not about the advantage."""

    def __call__(self, context: StepContext, /) -> Tensor:
        """Return ``[B]``; the core multiplies by the config's coefficient."""


@runtime_checkable
class Tracker(Protocol):
    """A receiver of metrics and images.

    Optional methods: ``started(directory, config, iteration)`` is told, once and before all else,
    the run directory, the resolved config as plain data, and the last iteration that counts, −1
    where the run begins: of what an earlier start was told, later ones come again.
    ``progress(phase, done, total)`` is told how far a phase (``train``, ``sample``, ``update``,
    ``evaluate``) has come. Images of an iteration come before its figures.
    """

    def metrics(self, step: int, values: Mapping[str, float], /) -> None:
        """Receive the figures of iteration ``step``."""

    def images(self, step: int, name: str, images: Tensor, captions: Sequence[str], /) -> None:
        """Receive images ``[B, 3, H, W]`` in [0, 1] with a caption each."""

    def close(self) -> None:
        """Flush and release; called exactly once, also after a failure."""
