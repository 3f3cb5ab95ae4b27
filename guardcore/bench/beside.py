"""Other configs beside the one that is measured."""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping, Sequence

from guardcore.bench.measure import Tell, measure
from guardcore.bench.result import Result
from guardcore.config import RunConfig
from guardcore.errors import GuardcoreError
from guardcore.registry import Registry

_log = logging.getLogger("guardcore")


def measure_beside(
    configs: Mapping[str, RunConfig],
    pairs: int,
    tell: Tell,
    registry: Registry | None = None,
    *,
    scaling: bool = False,
    processes: Sequence[int] = (),
) -> dict[str, Result]:
    """Measure each config's loops, one config after the other, so that each has the memory.

    What can't be built is left out with a warning: the rest has been measured by then.
    """
    found = {}
    for name, config in configs.items():
        gc.collect()  # models hold themselves in cycles
        try:
            found[name] = measure(
                config,
                pairs=pairs,
                scaling=scaling,
                rewards=False,
                processes=processes,
                registry=registry,
                tell=_naming(name, tell),
            )
        except GuardcoreError as error:
            _log.warning("%s is not measured: %s", name, error)
    return found


def _naming(name: str, tell: Tell) -> Tell:
    return lambda what: tell(f"{name}: {what}")
