"""Sizes as people write them."""

from __future__ import annotations

import re

from guardcore.errors import GuardcoreError

_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "mib": 2**20, "gib": 2**30}


def parse_bytes(text: str) -> int:
    """Return the bytes of ``24GB`` (powers of ten) or ``24GiB`` (powers of two).

    Raises:
        GuardcoreError: Neither.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    if found is None or found[2] not in _UNITS or float(found[1]) == 0:
        raise GuardcoreError(f"--memory {text!r}: expected a size as 24GB or 23.5GiB")
    return int(float(found[1]) * _UNITS[found[2]])


def written(number: float, unit: str) -> str:
    """Return a number with a decimal prefix: ``23.8 GB``, ``4.2 PFLOP``.

    >>> written(23_800_000_000, "B")
    '23.8 GB'
    """
    for power, prefix in ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if abs(number) >= 10**power:
            return f"{number / 10**power:.3g} {prefix}{unit}"
    return f"{number:.3g} {unit}"


def duration(seconds: float) -> str:
    """Return a time with one unit: ``41 s``, ``71 min``, ``3.2 h``."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
