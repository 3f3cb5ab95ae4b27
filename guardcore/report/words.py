"""A config and its numbers in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_SEARCH = ("outside_fraction", "calibration_iterations")
"""Options of a clip that looks for its range."""


def short(qualified: str) -> str:
    """Return a built-in's short name; a third party's keeps its distribution."""
    return qualified.removeprefix("guardcore:")


def strategy_name(config: Mapping[str, Any]) -> str:
    """Return the strategy's name, or the ratio chain's words where it has none."""
    name = config.get("strategy")
    return short(name) if name else _words(config.get("ratio") or ()) or "no ratio transform"


def strategy_sentence(config: Mapping[str, Any]) -> str:
    """Return what the strategy does to the ratio and the gradient, with its options."""
    chain = [in_full(spec) for spec in config.get("ratio") or ()]
    weights = [in_full(spec) for spec in config.get("gradient_weight") or ()]
    ratio = "ratio: " + (", then ".join(chain) or "as it is, without a clip")
    return f"{ratio}; gradient weight: {' × '.join(weights) or 'none'}"


def clip_bounds(config: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return ``(low, high)``, the ratio's bounds minus 1.

    None without a ``ppo-clip``, and where one waits for its range.
    """
    clips = [s for s in config.get("ratio") or () if short(str(s.get("use"))) == "ppo-clip"]
    if not clips or any(clip.get("range") == "auto" for clip in clips):
        return None
    return max(-float(c["low"]) for c in clips), min(float(c["high"]) for c in clips)


def component(spec: Mapping[str, Any], *options: str) -> str:
    """Return a component with some of its options, those that are null or empty left out."""
    named = {option: spec.get(option) for option in options}
    shown = [f"{key} {value}" for key, value in named.items() if value not in (None, "", [], {})]
    return ", ".join([short(str(spec["use"])), *shown])


def rewards(config: Mapping[str, Any]) -> str:
    """Return the judges with their weights."""
    return "; ".join(
        f"{in_full(spec)}, {'evaluation only' if weight == 0 else f'weight {weight:g}'}"
        for spec in config.get("reward") or ()
        for weight in [float(spec.get("weight", 1))]
    )


def duration(seconds: float) -> str:
    """Return a time in the unit in which a person would say it."""
    if not math.isfinite(seconds):
        return "–"
    unit, name = time_unit(seconds)
    return f"{seconds / unit:.3g} {name}"


def time_unit(seconds: float) -> tuple[float, str]:
    """Return the seconds in a fitting unit, and the unit's name."""
    if seconds < 120:
        return 1, "seconds"
    return (60, "minutes") if seconds < 7200 else (3600, "hours")


def plural(number: int, noun: str) -> str:
    """Return ``1 image``, ``2 images``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def number(value: float, scale: float | None = None, sign: str = "-") -> str:
    """Return a number with three decimals; more where ``scale`` is below 0.01, fewer above 10.

    Numbers of one scale have the same decimals; the default is the number's own size.
    """
    if not math.isfinite(value):
        return "–"
    size = abs(value if scale is None else scale)
    digits = math.floor(math.log10(size)) if 0 < size < math.inf else 0
    decimals = 2 - digits if digits < -2 else max(0, 3 - max(0, digits))
    return f"{value:{sign}.{decimals}f}".replace("-", "−")


def in_full(spec: Mapping[str, Any]) -> str:
    """Return a component with its options in brackets, those that say nothing left out."""
    aside = ("use", "weight", *_saying_nothing(spec))
    options = {key: value for key, value in spec.items() if key not in aside and value is not None}
    inner = ", ".join(f"{key} {_value(value)}" for key, value in options.items())
    return short(str(spec["use"])) + (f" ({inner})" if inner else "")


def _saying_nothing(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a clip's options that are not in force: those of a number, or of how to find one."""
    if "range" not in spec:
        return ()
    return ("low", "high") if spec["range"] == "auto" else _SEARCH


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _words(specs: Sequence[Mapping[str, Any]]) -> str:
    return " + ".join(short(str(spec["use"])) for spec in specs)
