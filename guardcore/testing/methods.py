"""What the checks of components with methods share: missing methods, closing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

from guardcore.testing.law import BrokenError, once


def has_methods(component: object, methods: Iterable[str]) -> None:
    """Refuse a component that lacks one of ``methods``."""
    missing = [name for name in methods if not callable(getattr(component, name, None))]
    if missing:
        raise BrokenError(f"{type(component).__name__} has no method {', '.join(missing)}")


@contextlib.contextmanager
def closed_after(who: str, close: Callable[[], None]) -> Iterator[None]:
    """Call ``close`` at the end; a failure of it counts where nothing else is wrong."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):
            close()
        raise
    once("close", who, close)
