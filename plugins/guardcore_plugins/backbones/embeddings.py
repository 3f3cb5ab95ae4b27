"""Prompt embeddings, computed once per distinct text."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import Tensor

Embedding = tuple[Tensor, ...]
"""What the text encoders make of one prompt: tensors with a leading dimension of 1."""

LIMIT_BYTES = 512 * 2**20
"""About 190 prompts of SD3.5 in half precision (2.7 MB each), every prompt of a tiny model."""


class EmbeddingCache:
    """Embeddings on the CPU, the least recently used dropped above a limit.

    Every text is encoded by itself: in a batch its embedding would depend, by rounding, on its
    neighbours, and a run that is resumed with a cold cache would differ from one that was not.
    For the same reason dropping an entry changes nothing but time.
    """

    def __init__(self, encode: Callable[[str], Embedding], limit_bytes: int = LIMIT_BYTES) -> None:
        self._encode = encode
        self._limit = limit_bytes
        self._entries: OrderedDict[str, Embedding] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __call__(self, text: str) -> Embedding:
        """Return the embedding of ``text``, tensors ``[1, …]`` on the CPU."""
        if text not in self._entries:
            self._add(text, tuple(tensor.cpu() for tensor in self._encode(text)))
        self._entries.move_to_end(text)
        return self._entries[text]

    def _add(self, text: str, embedding: Embedding) -> None:
        self._entries[text] = embedding
        self._bytes += _size(embedding)
        while self._bytes > self._limit and len(self._entries) > 1:
            _, dropped = self._entries.popitem(last=False)
            self._bytes -= _size(dropped)


def _size(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
