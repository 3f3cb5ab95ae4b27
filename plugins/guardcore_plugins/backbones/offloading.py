"""Frozen weights in main memory, on the device only for their block's turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch
from torch.nn import Module, ModuleList
from torch.utils.checkpoint import checkpoint

_HOOK = "group_offloading"  # diffusers' name for it


def repeated_blocks(network: Module) -> Sequence[Module]:
    """Return the members of the network's module lists, in order."""
    lists = [child for child in network.children() if isinstance(child, ModuleList)]
    return [block for members in lists for block in members]


def offload_blocks(network: Any, device: torch.device) -> None:
    """Put the network on ``device``, except its blocks' frozen weights; checkpoint its blocks.

    diffusers' group offloading, a group a block, copies those to the device before the block's
    forward and back after it. Without its prefetching: that follows the order of a forward, and a
    backward pass goes the other way, so that block after block would stay.

    What is trained stays on the device: its gradient and moments are there, and an optimiser's
    step on a copy that is overwritten at the next forward would be lost.
    """
    from diffusers.hooks import apply_group_offloading

    blocks = repeated_blocks(network)
    held = {id(p) for block in blocks for p in block.parameters() if not p.requires_grad}
    for tensor in (*network.parameters(), *network.buffers()):
        if id(tensor) not in held:
            tensor.data = tensor.data.to(device)
    for block in blocks:
        apply_group_offloading(block, device, offload_type="block_level", num_blocks_per_group=1)
        _keep_on_device(block, device)
    network.enable_gradient_checkpointing(_OffloadedBackward())


def offload_group(block: Any) -> Any:
    """Return diffusers' group of an offloaded block."""
    return block._diffusers_hook.get_hook(_HOOK).group


def _keep_on_device(block: Module, device: torch.device) -> None:
    """Take what is trained, and buffers, out of a block's group."""
    group = offload_group(block)
    group.parameters = [p for p in block.parameters() if not p.requires_grad]
    group.modules, group.buffers = [], []
    trained = [p for p in block.parameters() if p.requires_grad]
    for tensor in (*trained, *block.buffers()):
        tensor.data = tensor.data.to(device)


class _OffloadedBackward:
    """Gradient checkpointing of blocks whose weights leave after their forward.

    A block that is computed again is followed at once by its own backward pass, which multiplies
    by the frozen weights themselves, not by a saved copy. So it keeps them on the device until
    the backward pass reaches the block before it; the first block's leave after the next forward.
    """

    def __init__(self) -> None:
        self._group: Any = None

    def __call__(self, block: Any, *inputs: Any) -> Any:
        """Run a block; in the backward pass, run it again."""
        runs = count()

        def run(*inputs: Any) -> Any:
            return self._again(block, *inputs) if next(runs) else block(*inputs)

        return checkpoint(run, *inputs, use_reentrant=False)

    def _again(self, block: Any, *inputs: Any) -> Any:
        if self._group is not None:
            self._group.offload_()
        self._group = offload_group(block)
        with _staying(self._group):
            return block(*inputs)


@contextmanager
def _staying(group: Any) -> Iterator[None]:
    """Inside, the group's weights do not leave the device."""
    group.offload_ = lambda: None
    try:
        yield
    finally:
        del group.offload_
