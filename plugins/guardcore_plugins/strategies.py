"""Named sentences of ratio transforms and gradient weights, with their clip ranges.

The ranges hold for 512 px in the mean convention, D = 65,536 latent dimensions. The spread of a
normalised log-ratio goes with 1/sqrt(D), so a profile for another size overrides them
(``strategy_options`` in the config).
"""

from __future__ import annotations

from typing import Any

from guardcore import Registrar, Strategy, hookimpl


def _clip(half_width: float) -> dict[str, Any]:
    return {"use": "ppo-clip", "low": half_width, "high": half_width}


def _like_guard(*words: dict[str, Any], description: str) -> Strategy:
    """Return ``guard`` with other words in the place of its clip."""
    return Strategy(["ratio-norm", *words], ["inverse-dt"], description, samplers=["flow-sde"])


PLAIN = Strategy(
    ratio=[_clip(1e-4)],
    description="Flow-GRPO as published: PPO's clip on the raw ratio.",
)
TEMP_REWEIGHT = Strategy(
    ratio=[_clip(1e-4)],
    gradient_weight=["noise-scale"],
    description="Plain with the gradient's 1/std taken out (GRPO-Guard, ablation).",
)
MEAN_REVISED = Strategy(
    ratio=["mean-revise", _clip(1e-4)],
    description="The ratio centred on 1, its spread left as it is (GRPO-Guard, ablation).",
)
RATIO_NORM = Strategy(
    ratio=["ratio-norm", _clip(2e-6)],
    description="The ratio centred and scaled, Eq. 8, without gradient weights.",
)
FLAT_NORM = Strategy(
    ratio=["flat-norm", _clip(2e-5)],
    description="The ratio centred, and of one spread at every step, which evens the gradient too.",
)
GUARD = Strategy(
    ratio=["ratio-norm", _clip(2e-6)],
    gradient_weight=["inverse-dt"],
    description="GRPO-Guard: normalised ratio and gradient weight 1/dt, Eqs. 8 and 12 (Flow-SDE).",
    samplers=["flow-sde"],
)
GUARD_DANCE = Strategy(
    ratio=["ratio-norm", _clip(2e-6)],
    gradient_weight=["dance"],
    description="GRPO-Guard for DanceGRPO's sampler: gradient weight β/dt, Eq. 12 (Dance-SDE).",
    samplers=["dance-sde"],
)
CLIP_HIGHER = _like_guard(
    {"use": "ppo-clip", "low": 2e-6, "high": 2.8e-6},
    description="Guard with more room above 1 than below, 1.4 : 1 (DAPO's .28 and .2).",
)
SOFT_CLIP = _like_guard(
    {"use": "soft-clip", "low": 1.9e-6, "high": 2e-6},
    description="Guard with a clip that fades in, a little earlier where A < 0 (SAPO).",
)
DUAL_CLIP = _like_guard(
    _clip(2e-6),
    {"use": "dual-clip", "c": 1.00002},
    description="Guard with a bound on what a bad sample weighs, ten half-widths above 1.",
)
CISPO = _like_guard(
    {"use": "cispo", "high": 2e-6},
    description="Guard with the clip on the weight: no row is ever blocked (MiniMax-M1).",
)
DPPO = Strategy(
    ratio=["dppo-mask"],
    description="Flow-DPPO: rows that moved too far may only come back.",
)


@hookimpl
def guardcore_register_strategies(register: Registrar) -> None:
    """Register the ablation ladder and its neighbours."""
    register("plain", PLAIN)
    register("temp-reweight", TEMP_REWEIGHT)
    register("mean-revised", MEAN_REVISED)
    register("ratio-norm", RATIO_NORM)
    register("flat-norm", FLAT_NORM)
    register("guard", GUARD)
    register("guard-dance", GUARD_DANCE)
    register("dppo", DPPO)
    register("clip-higher", CLIP_HIGHER)
    register("soft-clip", SOFT_CLIP)
    register("dual-clip", DUAL_CLIP)
    register("cispo", CISPO)
