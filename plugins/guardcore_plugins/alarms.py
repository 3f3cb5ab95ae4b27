"""Says on the console that a run's trained score has ceased to stand for what is wanted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from guardcore import hookimpl

if TYPE_CHECKING:
    from guardcore.watch import Alarm

_log = logging.getLogger("guardcore")


@hookimpl
def guardcore_alarm_raised(alarm: Alarm) -> None:
    """Log what rises, what falls, and where the best model is."""
    _log.warning(
        "over-optimisation: from iteration %d to %d the trained score rises (%+.3g ± %.2g in 100 "
        "iterations) while gold falls (%+.3g ± %.2g); gold was best after iteration %d",
        alarm.since,
        alarm.iteration,
        alarm.proxy.slope,
        alarm.proxy.error,
        alarm.gold.slope,
        alarm.gold.error,
        alarm.best,
    )
