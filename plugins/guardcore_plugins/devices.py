"""The device that an option names. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardcore import GuardcoreError

if TYPE_CHECKING:
    import torch

DEVICES = r"^(auto|cpu|mps|cuda(:\d+)?)$"
"""Pattern of a ``device`` option; ``auto`` is cuda where there is one.

Without a number it is this process's own: of several on a machine each has another GPU.
"""


def pick_device(name: str, option: str) -> torch.device:
    """Return the device that ``name`` means; ``option`` is whose value it is, for the error.

    Raises:
        GuardcoreError: A CUDA device is asked for where there is none.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise GuardcoreError(
            f"{option}: this machine has {torch.cuda.device_count()} CUDA device(s), received "
            f"{name!r}; 'auto' takes what there is"
        )
    if device == torch.device("cuda") and torch.distributed.is_initialized():
        return torch.device("cuda", torch.cuda.current_device())
    return device
