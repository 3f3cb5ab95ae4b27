"""The eleven kinds of component, in the order of a run: a name each, and its hook."""

from __future__ import annotations

from guardcore.errors import GuardcoreError, did_you_mean

KINDS = (
    "prompt_source",
    "backbone",
    "sampler",
    "window",
    "reward",
    "advantage",
    "ratio_transform",
    "gradient_weight",
    "penalty",
    "strategy",
    "tracker",
)

OBSERVATION_HOOKS = ("guardcore_alarm_raised",)
"""The hooks through which plugins are told what happens."""


def registration_hook(kind: str) -> str:
    """Return the name of the hook through which plugins add components of ``kind``."""
    plural = kind[:-1] + "ies" if kind.endswith("y") else kind + "s"
    return f"guardcore_register_{plural}"


def check_kind(kind: str) -> str:
    """Return ``kind`` if there is such a kind.

    Raises:
        GuardcoreError: There is none.
    """
    kind = kind.replace("-", "_")
    if kind not in KINDS:
        hint = did_you_mean(kind, KINDS) or f"; the kinds are {', '.join(KINDS)}"
        raise GuardcoreError(f"no kind of component is called {kind!r}{hint}")
    return kind
