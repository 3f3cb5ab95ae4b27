"""GRPO-Guard with an even gradient as a strategy.

``ratio-norm`` makes the gradient in the velocity go with ``velocity_gain``, and the weight ``flat``
is ``1/velocity_gain``. So at ratio 1 the gradient is ``A·z/D`` at every step, whatever the sampler,
with the advantage ``A``, the drawn noise ``z`` and ``D`` latent dimensions. The clip range is
measured in the run's first iterations: it fits every image size.
"""

from __future__ import annotations

from guardcore import Registrar, Strategy, hookimpl

YOUR_NAME = Strategy(
    ratio=["ratio-norm", {"use": "ppo-clip", "range": "auto"}],
    gradient_weight=["flat"],
    description="GRPO-Guard with one gradient at every step, and a clip range that is measured.",
)


@hookimpl
def guardcore_register_strategies(register: Registrar) -> None:
    """Register the one strategy."""
    register("your-name", YOUR_NAME)
