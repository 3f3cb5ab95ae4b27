"""The errors a user can mend: one line each, with the culprit and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class GuardcoreError(Exception):
    """A mistake that a user can fix; the command line prints it as one line and exits with 2."""


class ConfigError(GuardcoreError):
    """Everything that is wrong with a config, each problem with its config path."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class ComponentError(GuardcoreError):
    """A component broke its contract during a run (wrong shape, NaN, raised)."""


class PreflightError(GuardcoreError):
    """The rollout and the update do not score the same thing."""


class CheckpointError(GuardcoreError):
    """A checkpoint is damaged, missing or belongs to another run."""


class ProcessError(GuardcoreError):
    """Another process of the run has ended, or does not come."""


class ToldByMainError(GuardcoreError):
    """A mistake that the run's main process tells for all; the command line prints it there."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known word, or the empty string."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
