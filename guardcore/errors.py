"""The errors a user can mend: one line each, with the culprit and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_LONGEST = 800
"""Characters of a problem's line."""


class GuardcoreError(Exception):
    """A mistake that a user can fix; the command line prints it as one line and exits with 2."""


class ConfigError(GuardcoreError):
    """Everything that is wrong with a config, each problem with its config path."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(map(printable, problems))
        super().__init__("; ".join(self.problems))


class ComponentError(GuardcoreError):
    """A component broke its contract during a run (wrong shape, NaN, raised)."""


class RewardTimeoutError(ComponentError):
    """A reward did not answer in time; its call may be under way still."""


class PreflightError(GuardcoreError):
    """The rollout and the update do not score the same thing."""


class WriteError(GuardcoreError):
    """Something could not be written: a full disk, a missing permission."""


class CheckpointError(GuardcoreError):
    """A checkpoint is damaged, missing or belongs to another run."""


def printable(text: str) -> str:
    r"""Return ``text`` on one line that can be read: a config's keys and names may be anything.

    What has no glyph is escaped, and of a line without end both ends are kept.

    >>> printable("\ufeffbackbone: unknown key")
    '\\ufeffbackbone: unknown key'
    """
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 4 :]}"


class ProcessError(GuardcoreError):
    """Another process of the run has ended, or does not come."""


class ToldByMainError(GuardcoreError):
    """A mistake that the run's main process tells for all; the command line prints it there."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known word, or the empty string."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
