"""A prompt: its text and what a reward needs to know about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes:
        text: What the model is asked to draw.
        metadata: What a reward judges by (GenEval's ``tag``, ``include``, ``exclude``, …).
    """

    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
