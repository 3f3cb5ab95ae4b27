"""What a launcher (``torchrun``, ``accelerate launch``) says in the environment."""

from __future__ import annotations

import os


def announced() -> int:
    """Return how many processes were started: 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def place() -> int:
    """Return this process's number, from 0."""
    return int(os.environ.get("RANK", "0"))


def place_on_node() -> int:
    """Return this process's number on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def on_node() -> int:
    """Return how many processes were started on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", announced()))


def master() -> str:
    """Return where the processes meet."""
    names = ("MASTER_ADDR", "MASTER_PORT")
    return ":".join(os.environ.get(name, f"({name} is not set)") for name in names)
