"""Frozen weights in main memory, on the device only for their block's turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.nn import Module, ModuleList

_HOOK = "group_offloading"  # diffusers' name for it


def repeated_blocks(network: Module) -> Sequence[Module]:
    """Return the members of the network's module lists, in order."""
    lists = [child for child in network.children() if isinstance(child, ModuleList)]
    return [block for members in lists for block in members]


def offload_blocks(network: Module, device: torch.device) -> None:
    """Put the network on ``device``, except its blocks' frozen weights.

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
        trained = [p for p in block.parameters() if p.requires_grad]
        apply_group_offloading(block, device, offload_type="block_level", num_blocks_per_group=1)
        _keep_on_device(block, trained, device)


def offload_groups(network: Module) -> Iterable[Any]:
    """Yield diffusers' groups, one a block that is offloaded."""
    for block in repeated_blocks(network):
        registry = getattr(block, "_diffusers_hook", None)
        hook = registry.get_hook(_HOOK) if registry is not None else None
        if hook is not None:
            yield hook.group


def _keep_on_device(
    block: Any, trained: Sequence[torch.nn.Parameter], device: torch.device
) -> None:
    """Take what is trained, and buffers, out of a block's group."""
    group = block._diffusers_hook.get_hook(_HOOK).group
    group.parameters = [p for p in block.parameters() if not p.requires_grad]
    group.modules, group.buffers = [], []
    for tensor in (*trained, *block.buffers()):
        tensor.data = tensor.data.to(device)
