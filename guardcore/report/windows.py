"""A window of trained steps in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guardcore.report.words import in_full, short


def trained_steps(window: Any) -> str:
    """Return which steps ``rollout.train_steps`` trains, in every form that a config may have."""
    if isinstance(window, str):
        window = {"use": window}
    if not isinstance(window, Mapping):
        return _listed(window)
    match short(str(window.get("use", "block"))):
        case "all":
            return "all but the last"
        case "steps":
            return _listed(window["steps"])
        case "block":
            return f"{window['size']} in a row, {_where(window)}"
        case "sliding":
            return f"{window['size']} in a row, {_sliding(window)}"
    return in_full(window)


def _listed(steps: Any) -> str:
    return ", ".join(str(step) for step in sorted(steps))


def _where(window: Mapping[str, Any]) -> str:
    first = window["from"]
    if window["choose"] == "fixed":
        return f"from step {first}"
    return f"anywhere from step {first} to {window['to'] or 'the last'}, anew in each iteration"


def _sliding(window: Mapping[str, Any]) -> str:
    end = "and begins again" if window["end"] == "restart" else "and stays"
    often = "iteration" if window["every"] == 1 else f"{window['every']} iterations"
    moves = f"moves by {window['stride']} every {often}"
    faster = f", faster from step {window['decay_from']}" if window["decay"] else ""
    return (
        f"from step {window['from']}; {moves}{faster}, to {window['to'] or 'the last one'}, {end}"
    )
