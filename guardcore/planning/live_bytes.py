"""What an eager computation does and holds, counted on tensors without numbers.

Every operation's results are followed until they are freed, as an allocator would see them; so
temporaries, what autograd saves and what checkpointing recomputes are all in it, in order.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside, counts the bytes of all results that are alive, and FLOPs by torch's formulas.

    Args:
        outside: Tensors that were there before and are no part of the count, and whatever shares
            memory with them.

    Attributes:
        flops: Of matrix products, convolutions and attention; a multiply-add is 2.
        now: Bytes alive.
        peak: The most there were.
    """

    def __init__(self, outside: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = self.now = self.peak = 0
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
        """Run an operation, count its FLOPs and follow its results."""
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(getattr(func, "overloadpacket", None))
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self._follow(tensor)
        return result

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


@contextmanager
def fused_attention() -> Iterator[None]:
    """Inside, attention is the fused kernel of an accelerator.

    On the ``meta`` device torch would take the plain one, whose ``[B, heads, L, L]`` scores no
    accelerator holds. An exchanged function, because a ``TorchFunctionMode`` is left during a
    backward pass, where checkpointing calls it again.
    """
    plain = functional.scaled_dot_product_attention
    functional.scaled_dot_product_attention = _fused
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = plain


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
