"""Activations computed again in the backward pass instead of kept."""

from __future__ import annotations

from typing import Any

from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop


def enable_checkpointing(network: Any) -> None:
    """Keep of each block its inputs alone, by diffusers' own switch.

    diffusers acts on it wherever gradients are on, so also with the blocks in evaluation mode.
    """
    network.enable_gradient_checkpointing(_recomputed)


def _recomputed(block: Any, *inputs: Any) -> Any:
    """Run a block to its end when it is computed again.

    torch would stop at the last activation it needs, before the block's hooks have run: a block
    that was brought to the device would stay there.
    """
    with set_checkpoint_early_stop(False):
        return checkpoint(block, *inputs, use_reentrant=False)
