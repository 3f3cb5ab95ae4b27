"""Images a micro-batch: what the config says, halved where the memory turns out too small.

Halving is a matter of memory alone: noise belongs to a sample and the loss is a mean over all
terms, so the update is the same but for rounding. What ran out of memory is done again as a whole,
because an update scores micro-batches in the shape in which they were sampled.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from guardcore.errors import GuardcoreError

_log = logging.getLogger("guardcore")
_T = TypeVar("_T")


class BatchSize:
    """How many images go together; ``size`` only ever falls.

    Attributes:
        size: Images.
        may_halve: Whether to go on with fewer; else memory that is too small ends the run.
        told_by: The error after which it is halved; among processes, one that all of them raise.
    """

    def __init__(
        self,
        size: int,
        may_halve: bool = True,
        told_by: type[torch.OutOfMemoryError] = torch.OutOfMemoryError,
    ) -> None:
        self.size = size
        self.may_halve = may_halve
        self.told_by = told_by

    def copy(self) -> BatchSize:
        """Return one that falls by itself."""
        return BatchSize(self.size, self.may_halve, self.told_by)

    def halve(self, reason: str) -> None:
        """Go down to half, with a warning.

        Raises:
            GuardcoreError: It is 1 already, or may not fall.
        """
        if self.size == 1 or not self.may_halve:
            raise GuardcoreError(_line(self.size, reason))
        before, self.size = self.size, self.size // 2
        _log.warning(
            "out of memory with %d images a micro-batch: again, and on, with %d (%s)",
            before,
            self.size,
            reason,
        )


def with_room(
    batch_size: BatchSize, work: Callable[[], _T], undo: Callable[[], object] = lambda: None
) -> _T:
    """Return what ``work`` returns; out of memory, halve the batch size and do it again.

    Args:
        batch_size: What ``work`` looks at.
        work: May be begun anew after ``undo``.
        undo: Goes back to where ``work`` began.

    Raises:
        GuardcoreError: One image is too much, or the batch size may not fall.
    """
    while True:
        try:
            return work()
        except batch_size.told_by as error:
            reason = _reason(error)
        batch_size.halve(reason)
        # only here, with the traceback, are the frames gone that hold the tensors
        gc.collect()
        torch.cuda.empty_cache()
        undo()


def _reason(error: torch.OutOfMemoryError) -> str:
    """Return the two sentences of an error that say what was asked for and where."""
    said = ". ".join(" ".join(str(error).split()).split(". ")[:2]).rstrip(".")
    return "; ".join([*getattr(error, "__notes__", ()), said])


def _line(size: int, reason: str) -> str:
    """Say what can be done where the memory is too small."""
    smaller = "" if size == 1 else "a smaller rollout.batch_size, "
    return (
        f"out of memory with {size} image{'s' if size > 1 else ''} a micro-batch ({reason}): take "
        f"{smaller}a smaller rollout.height and width, rollout.offload_trajectories=true, or what "
        "the backbone has to save memory (`guardcore plugins inspect backbone NAME`)"
    )
