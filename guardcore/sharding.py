"""Weights shared out over the processes: torch's FSDP2 around each of a backbone's blocks.

Before a block's turn its weights are brought together, and let go after it; its gradients are added
up on the way back. What is trained beside frozen weights (LoRA) is small and stays whole, so that
optimiser, averages and files are those of an unsharded run. In full fine-tuning a block's
parameters are ``DTensor``s: this module is all that knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from guardcore.components import Backbone
from guardcore.errors import GuardcoreError

if TYPE_CHECKING:
    from guardcore.ranks import Ranks


def shard_blocks(backbone: Backbone, ranks: Ranks) -> None:
    """Share out the weights of ``backbone.blocks()``, where the run asks for it.

    Raises:
        GuardcoreError: The backbone names no blocks, or torch cannot shard them.
    """
    if not ranks.in_step:
        return
    blocks = blocks_of(backbone)
    if not blocks:
        raise GuardcoreError(
            "distributed.shard: this backbone has no blocks() to shard; set it to none"
        )
    from torch.distributed.device_mesh import init_device_mesh

    try:
        from torch.distributed.fsdp import fully_shard

        first = next(blocks[0].parameters())
        mesh = init_device_mesh(first.device.type, (ranks.world,))
        for block in blocks:
            frozen = any(not parameter.requires_grad for parameter in block.parameters())
            kept = {p for p in block.parameters() if p.requires_grad} if frozen else set()
            # each block is a root, and a root's weights would stay after its forward by default
            fully_shard(block, mesh=mesh, reshard_after_forward=True, ignored_params=kept)
    except (ImportError, RuntimeError, TypeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise GuardcoreError(
            f"distributed.shard: torch {torch.__version__} cannot shard this backbone's blocks "
            f"({reason}); leave out quantisation and offloading, or set it to none"
        ) from error


def blocks_of(backbone: Backbone) -> Sequence[Module]:
    """Return what a backbone gives to be sharded; nothing where it has no such method."""
    found: Sequence[Module] = getattr(backbone, "blocks", lambda: ())()
    return found


def is_shared_out(tensor: Tensor) -> bool:
    """Whether a process holds only its part of a tensor."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor whole; of one that is shared out, all processes have to ask."""
    found: Any = tensor
    result: Tensor = found.full_tensor() if is_shared_out(tensor) else tensor
    return result


def own(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor."""
    found: Any = tensor
    local: Tensor = found.to_local() if is_shared_out(tensor) else tensor
    return local


def as_in(values: Tensor, target: Tensor) -> Tensor:
    """Return whole ``values`` shared out like ``target``, where that is.

    Every process has to have all of them, and takes its part without asking another.
    """
    if not is_shared_out(target) or is_shared_out(values):
        return values
    from torch.distributed.tensor import distribute_tensor

    like: Any = target
    mesh, placements = like.device_mesh, like.placements
    return distribute_tensor(values.to(like.device), mesh, placements, src_data_rank=None)


def apart(tensors: Iterable[Any]) -> list[list[Any]]:
    """Return those that are whole and those that are shared out, but no empty list."""
    every = list(tensors)
    parts = [[t for t in every if is_shared_out(t) is shared] for shared in (False, True)]
    return [part for part in parts if part]


def clip_grad_norm(parameters: Iterable[Parameter], max_norm: float) -> Tensor:
    """Do what torch's ``clip_grad_norm_`` does, also where some are whole and some shared out."""
    every = list(parameters)
    if len(parts := apart(every)) == 1 and not is_shared_out(every[0]):
        return torch.nn.utils.clip_grad_norm_(every, max_norm)
    grads = [[p.grad for p in part if p.grad is not None] for part in parts]
    norms = [whole(torch.nn.utils.get_total_norm(part)) for part in grads if part]
    norm = torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.zeros(())
    for part in parts:
        torch.nn.utils.clip_grads_with_norm_(part, max_norm, norm)
    return norm


@contextmanager
def made_whole(backbone: Backbone, ranks: Ranks) -> Iterator[None]:
    """Inside, the main process's blocks hold whole weights, to be written and nothing else."""
    held: list[tuple[dict[str, Any], dict[str, Parameter]]] = []
    for block in blocks_of(backbone) if ranks.in_step else ():
        for module in block.modules():
            parts = {n: p for n, p in module._parameters.items() if p is not None}
            parts = {name: p for name, p in parts.items() if is_shared_out(p)}
            found = {n: Parameter(whole(p.detach()).cpu()) for n, p in parts.items()}
            if ranks.main:
                held.append((module._parameters, parts))
                module._parameters.update(found)
    try:
        yield
    finally:
        for parameters, parts in held:
            parameters.update(parts)
