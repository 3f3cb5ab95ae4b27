"""How many bytes an eager computation holds, counted on tensors that have none.

Every operation's results are followed until they are freed, as an allocator would see them; so
temporaries, what autograd saves and what checkpointing recomputes are all in it, in order.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only


class LiveBytes(TorchDispatchMode):
    """Inside, counts the bytes of all results that are alive.

    Args:
        outside: Tensors that were there before and are no part of the count, and whatever shares
            memory with them.

    Attributes:
        now: Bytes alive.
        peak: The most there were since the beginning or the last ``mark``.
    """

    def __init__(self, outside: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._outside = [tensor.untyped_storage() for tensor in outside]
        # by address: a storage can't be compared, and one that is freed leaves its address
        self._known: dict[int, Any] = {storage._cdata: None for storage in self._outside}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation and follow its results."""
        result = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._follow, result)
        return result

    def mark(self) -> None:
        """Begin a new peak."""
        self.peak = self.now

    def _follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        address, size = storage._cdata, storage.nbytes()
        if address in self._known:
            return
        self.now += size
        self.peak = max(self.peak, self.now)
        self._known[address] = weakref.ref(storage, partial(self._freed, address, size))

    def _freed(self, address: int, size: int, _: object) -> None:
        self.now -= size
        del self._known[address]


class FusedAttention(TorchFunctionMode):
    """Inside, attention is the fused kernel of an accelerator.

    On the ``meta`` device torch would take the plain one, whose ``[B, heads, L, L]`` scores no
    accelerator holds.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Replace one function by the operation that it becomes on an accelerator."""
        attention = func is scaled_dot_product_attention
        return _fused(*args, **(kwargs or {})) if attention else func(*args, **(kwargs or {}))


def _fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return ``[B, heads, L, E]``; both kernels save their inputs, the result and one row sum."""
    if attn_mask is None:
        result = torch.ops.aten._scaled_dot_product_flash_attention(
            query, key, value, dropout_p, is_causal, scale=scale
        )
    else:
        result = torch.ops.aten._scaled_dot_product_efficient_attention(
            query, key, value, attn_mask, query.requires_grad, dropout_p, is_causal, scale=scale
        )
    output: Tensor = result[0]
    return output
