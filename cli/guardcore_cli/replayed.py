"""A replay, for a person and for a program."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from guardcore.replaying import Replay
from guardcore.tally import SHOWN, Replayed

WIDTH = 100
"""Columns that a table needs; a narrower terminal wraps its lines, which loses nothing."""
_NONE = "–"
_CLIPS = ("low", "low_positive", "low_negative", "high", "high_positive", "high_negative")


def plain(done: Replay) -> dict[str, Any]:
    """Return all of it as JSON has words for it."""
    return {
        "iteration": done.iteration,
        "update": done.update,
        "seconds": done.seconds,
        "candidates": {name: _plain(each) for name, each in done.candidates.items()},
    }


def print_replay(done: Replay) -> None:
    """Print a table a candidate, and under it what to choose a clip range by."""
    console = Console(highlight=False, width=max(Console().width, WIDTH))
    many = f"{len(done.candidates)} candidates" if len(done.candidates) > 1 else "1 candidate"
    console.print(
        f"iteration {done.iteration}, update {done.update}: {many} in {done.seconds:.1f} s"
    )
    for each in done.candidates.values():
        console.print()
        words = ", ".join(each.ratio) or "no ratio transform"
        weight = " × ".join(each.gradient_weight) or "none"
        title = f"[bold]{escape(each.name)}[/]: {escape(words)}; weight: {escape(weight)}"
        console.print(f"{title}; {_bounds(each)}", soft_wrap=True)
        console.print(_table(each))
        console.print(_factors(each), soft_wrap=True)
        console.print(_half_widths(each), soft_wrap=True)


def _bounds(each: Replayed) -> str:
    """Write the bounds on the ratio, as they were in force."""
    if each.bounds is None:
        return "bounds differ from term to term"
    low, high = each.bounds
    sides = [f"1 − {1 - low:.3g}"] if low > 0 else []
    sides += [f"1 + {high - 1:.3g}"] if math.isfinite(high) else []
    return f"bounds {', '.join(sides)}".replace("e-0", "e-") if sides else "no bounds"


def _table(each: Replayed) -> Table:
    unit, shares = _unit(row["ratio_std"] for row in each.rows), each.shares
    width = _short(each.half_widths[SHOWN])
    headings = [
        *("\nstep", "\nsigma", "ratio−1\nmean", f"×{unit:.0e}\nstd".replace("e-0", "e-"), "\nK"),
        *("below\n%", "\nA>0", "\nA<0", "above\n%", "\nA>0", "\nA<0", "blocked\n%"),
        *(["gradient\n%"] if shares else []),
        *("outside\nbelow", f"±{width}\nabove"),
    ]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in each.rows:
        share = [shares[row["step"]]] if shares else []
        fractions = [row[f"clip_{name}"] for name in _CLIPS]
        fractions += [row["blocked"], *share, *each.outside[row["step"]]]
        table.add_row(
            str(row["step"]),
            f"{row['sigma']:.3f}",
            f"{(row['ratio_mean'] - 1) / unit:.3f}",
            f"{row['ratio_std'] / unit:.3f}",
            f"{row['k']:.2g}",
            *map(_percent, fractions),
        )
    return table


def _factors(each: Replayed) -> str:
    """Say how unequal the steps are."""
    factors = [f"spread ×{_factor([row['ratio_std'] for row in each.rows])}"]
    if each.shares:
        factors.append(f"gradient ×{_factor(list(each.shares.values()))}")
    return f"largest step over smallest: {', '.join(factors)}"


def _half_widths(each: Replayed) -> str:
    parts = ", ".join(f"{100 * fraction:.0f}" for fraction in each.half_widths)
    widths = ", ".join(_short(width) for width in each.half_widths.values())
    return f"half-widths that leave {parts} % of all terms outside: {widths}"


def _factor(values: Sequence[float]) -> str:
    return f"{max(values) / min(values):.3g}" if min(values) > 0 else _NONE


def _short(value: float) -> str:
    """Write ``1.9e-4``."""
    return f"{value:.1e}".replace("e-0", "e-")


def _percent(fraction: float) -> str:
    return _NONE if math.isnan(fraction) else f"{100 * fraction:.1f}"


def _unit(spreads: Iterable[float]) -> float:
    """Return the power of ten at or below the largest spread."""
    largest = max(spreads)
    return float(10 ** math.floor(math.log10(largest))) if largest > 0 else 1.0


def _plain(each: Replayed) -> dict[str, Any]:
    shares = each.shares
    steps = [
        {
            **{key: _finite(value) for key, value in row.items()},
            **({"grad_share": shares[row["step"]]} if shares else {}),
            "outside": list(each.outside[row["step"]]),
        }
        for row in each.rows
    ]
    widths = {str(part): width for part, width in each.half_widths.items()}
    return {
        "ratio": list(each.ratio),
        "gradient_weight": list(each.gradient_weight),
        "bounds": each.bounds and [_finite(bound) for bound in each.bounds],
        "steps": steps,
        "half_widths": widths,
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
