"""What is said where an exchange with the other processes fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import distributed

from guardcore.errors import ProcessError

if TYPE_CHECKING:
    from guardcore.ranks import Ranks


@contextmanager
def model_calls(ranks: Ranks) -> Iterator[None]:
    """Inside, what a shared-out model exchanges by itself fails in one line, too.

    Raises:
        ProcessError: Another process has ended, or needs longer than the time-out.
    """
    try:
        yield
    except RuntimeError as error:
        if ranks.in_step and _of_an_exchange(error):
            raise waited_in_vain(ranks, "calling the model", error) from error
        raise


def waited_in_vain(ranks: Ranks, name: str, error: RuntimeError) -> ProcessError:
    """Return the line that says who waited, in which phase, and why for nothing."""
    late = "imed out" in str(error)
    why = f"none came within {ranks.timeout:g} s (distributed.timeout)" if late else "it ended"
    return ProcessError(
        f"process {ranks.number} of {ranks.world} waited in vain for another in phase {name!r}: "
        f"{why}; that one's own lines, or its error log, say more"
    )


def _of_an_exchange(error: RuntimeError) -> bool:
    """Whether an error is NCCL's or gloo's, which has no class of its own."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)
