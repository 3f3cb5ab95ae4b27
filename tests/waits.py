"""Which operations would make a host wait for its accelerator; they can be counted on a CPU."""

from __future__ import annotations

import sys

import torch
from torch.utils._python_dispatch import TorchDispatchMode

ATEN = torch.ops.aten
WAITING = {ATEN._local_scalar_dense, ATEN.nonzero, ATEN.equal, ATEN.is_nonzero, ATEN.masked_select}
"""A number or a shape that the host needs before it can go on."""


class Waits(TorchDispatchMode):
    """Inside, notes each operation that waits, and in which functions it happened."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, list[str]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in WAITING:
            frame, names = sys._getframe(1), []
            while frame is not None:
                names.append(frame.f_code.co_name)
                frame = frame.f_back
            self.seen.append((str(func), names))
        return func(*args, **(kwargs or {}))

    def within(self, function: str) -> list[str]:
        """The operations within a function, each with the innermost functions around it."""
        return [f"{what} in {names[:4]}" for what, names in self.seen if function in names]
