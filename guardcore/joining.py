"""How the processes of a run find one another: accelerate reads what a launcher has set."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from guardcore.config import Distributed
from guardcore.errors import ProcessError
from guardcore.launched import announced, master, on_node, place
from guardcore.ranks import Ranks

_log = logging.getLogger("guardcore")


@contextmanager
def joined(settings: Distributed) -> Iterator[Ranks]:
    """Find the other processes, which stay found for later runs; alone, initialise nothing.

    Raises:
        ProcessError: Not all came within the time-out.
    """
    if announced() == 1:
        yield Ranks()
        return
    state = _state(settings.timeout)
    level = _log.level
    if not state.is_main_process:
        _log.setLevel(logging.ERROR)  # what all have to say, one says
    try:
        in_step = settings.shard == "blocks"
        yield Ranks(state.process_index, state.num_processes, settings.timeout, in_step)
    finally:
        _log.setLevel(level)


def leave() -> None:
    """Take leave of the others, at the end of a process that has met them.

    Not after an error: NCCL would wait for those that no longer come.
    """
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _state(timeout: float) -> Any:
    """Start accelerate's view of the processes; tensors on the CPU travel by gloo everywhere."""
    from accelerate import PartialState  # type: ignore[import-untyped]

    cpu = torch.cuda.device_count() < on_node()
    try:
        return PartialState(
            cpu=cpu,
            backend="gloo" if cpu else "cpu:gloo,cuda:nccl",
            timeout=timedelta(seconds=timeout),
        )
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise ProcessError(
            f"{announced()} processes were announced (WORLD_SIZE), and this one, RANK {place()}, "
            f"has not found them all within {timeout:g} s (distributed.timeout) at {master()}: "
            f"{first}"
        ) from error
