"""Who is told what happens in a run: plugins' observation hooks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardcore.registry import Origin

_log = logging.getLogger("guardcore")


@dataclass(frozen=True)
class Observer:
    """A plugin's implementation of a hook, and the arguments that it takes."""

    origin: Origin
    tell: Callable[..., object]
    arguments: Sequence[str]


class Observers:
    """Tells every observer; one that fails is logged once and told no more."""

    def __init__(self, by_hook: Mapping[str, Sequence[Observer]] | None = None) -> None:
        self._by_hook = by_hook or {}
        self._failed: set[Origin] = set()

    def tell(self, hook: str, **arguments: Any) -> None:
        """Call the implementations of ``hook``, each with the arguments that it takes."""
        for observer in self._by_hook.get(hook, ()):
            if observer.origin in self._failed:
                continue
            try:
                observer.tell(*(arguments[name] for name in observer.arguments))
            except Exception as error:
                self._failed.add(observer.origin)
                _log.warning(
                    "observer %s of %s %s failed and is told no more: %s: %s",
                    hook,
                    observer.origin.distribution,
                    observer.origin.version,
                    type(error).__name__,
                    error,
                )
