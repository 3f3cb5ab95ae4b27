"""The processes of a run: whose each micro-batch is, and what they tell one another.

Micro-batches are planned over all samples and then dealt, so no result depends on how many
processes there are, but for the order in which gradients are added up. Tensors alone are exchanged.
Left out: DDP's wrapper, because gradients are accumulated over many micro-batches and added up once
an update.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, distributed

from guardcore.clock import Clock
from guardcore.errors import GuardcoreError, ToldByMainError
from guardcore.sharding import is_shared_out
from guardcore.vain import waited_in_vain

if TYPE_CHECKING:
    from torch.nn import Parameter

BUCKET = 2**24
"""Numbers that are added up at a time, 64 MiB in float32: the copy that it needs is no larger."""


class SharedOutOfMemory(torch.OutOfMemoryError):
    """A process has run out of memory, and all know it."""


class Piece(NamedTuple):
    """A micro-batch, and the process that samples it and scores it."""

    samples: range
    rank: int

    @property
    def rows(self) -> slice:
        """The samples' rows in tensors over the whole iteration."""
        return slice(self.samples.start, self.samples.stop)


@dataclass(frozen=True)
class Ranks:
    """This process among those of its run; alone, nothing here does anything.

    Attributes:
        number: This process's, from 0.
        world: How many there are.
        timeout: Seconds that one waits for the others.
        in_step: Whether the model is shared out, so that all have to call it at the same time.
        clock: What counts the waiting for the others.
    """

    number: int = 0
    world: int = 1
    timeout: float = 0.0
    in_step: bool = False
    clock: Clock | None = None

    @property
    def main(self) -> bool:
        """Whether this is the process that writes, tracks and reports."""
        return self.number == 0

    @property
    def out_of_memory(self) -> type[torch.OutOfMemoryError]:
        """What is raised where memory is too small, in all processes alike."""
        return torch.OutOfMemoryError if self.world == 1 else SharedOutOfMemory

    def deal(self, batches: Sequence[range], first: int = 0) -> list[Piece]:
        """Deal micro-batches in turn; ``first`` were dealt before."""
        return [Piece(batch, place % self.world) for place, batch in enumerate(batches, first)]

    def mine(self, pieces: Iterable[Piece]) -> list[Piece]:
        """Return those that are this process's."""
        return [piece for piece in pieces if piece.rank == self.number]

    def turns(self, pieces: Sequence[Piece]) -> list[tuple[Piece, bool]]:
        """Return this process's pieces, and whether each counts.

        Those that don't are there where all keep step, so that all have as many.
        """
        own = self.mine(pieces)
        counts = [sum(piece.rank == rank for piece in pieces) for rank in range(self.world)]
        missing = max(counts) - len(own) if self.in_step else 0
        return [*((piece, True) for piece in own), *[((own or pieces)[-1], False)] * missing]

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Inside, each does its own work; on leaving, all have done it.

        Raises:
            SharedOutOfMemory: One has run out of memory: it and all the others raise this.
            ProcessError: One has ended, or needs longer than ``timeout``.
        """
        if self.world == 1:
            yield
            return
        reason = ""
        try:
            yield
        except torch.OutOfMemoryError as error:  # not kept: its frames hold tensors
            reason = "; ".join([*getattr(error, "__notes__", ()), str(error)])
            if self.in_step:  # the others are within a call of the model
                raise SharedOutOfMemory(reason) from None
        if self.largest(float(bool(reason)), name):
            raise SharedOutOfMemory(reason or "in another process")

    @contextmanager
    def main_first(self, name: str) -> Iterator[None]:
        """Inside, the main process is done before the others begin."""
        if not self.main:
            self.wait(name)
        yield
        if self.main:
            self.wait(name)

    @contextmanager
    def told_by_main(self, name: str) -> Iterator[None]:
        """Inside is a check of what all look at: where it fails, the main process says so.

        Raises:
            ToldByMainError: It has failed, here or there, and this is another process.
        """
        failed: GuardcoreError | None = None
        try:
            yield
        except GuardcoreError as error:
            failed = error
        if self.largest(float(failed is not None), name):
            if failed is not None and self.main:
                raise failed
            raise ToldByMainError("the main process says why") from failed

    def wait(self, name: str) -> None:
        """Wait until all are here."""
        self.largest(0, name)

    def gather(self, rows: Tensor, pieces: Sequence[Piece], name: str) -> Tensor:
        """Return the rows ``[N, …]`` of all ``pieces``, in their order.

        Args:
            rows: Those of this process's pieces, one after the other; on the CPU.
            pieces: Everybody's.
            name: What it is for, as an error says it.
        """
        if self.world == 1:
            return rows
        sizes = [sum(len(p.samples) for p in pieces if p.rank == r) for r in range(self.world)]
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in range(self.world)]
        with self._together(name):
            distributed.all_gather(found, padded)
        left = [iter(own[:size]) for own, size in zip(found, sizes, strict=True)]
        every = [next(left[piece.rank]) for piece in pieces for _ in piece.samples]
        return torch.stack(every) if every else rows

    def sum(self, value: float, name: str) -> float:
        """Return the sum of everybody's ``value``."""
        return self._reduced([value], "SUM", name)[0]

    def largest(self, value: float, name: str) -> float:
        """Return the largest of everybody's ``value``."""
        return self._reduced([value], "MAX", name)[0]

    def check_same(self, what: str, values: Sequence[float]) -> None:
        """Refuse to go on where the processes differ.

        Raises:
            GuardcoreError: In ``what``.
        """
        signed = [*values, *(-value for value in values)]
        if self._reduced(signed, "MAX", f"comparing {what}") != signed:
            raise GuardcoreError(f"the processes of this run do not have the same {what}")

    def text(self, text: str, name: str) -> str:
        """Return the main process's ``text``."""
        if self.world == 1:
            return text
        length = int(self.largest(len(text.encode()) if self.main else 0, name))
        letters = torch.zeros(length, dtype=torch.uint8)
        if self.main:
            letters[:] = torch.tensor(list(text.encode()), dtype=torch.uint8)
        with self._together(name):
            distributed.broadcast(letters, 0)
        return bytes(letters.tolist()).decode()

    def sum_gradients(self, parameters: Collection[Parameter], name: str) -> None:
        """Give every parameter the sum of its gradients; None where nobody has one."""
        if self.world == 1:
            return
        every = [p for p in parameters if not is_shared_out(p)]
        for parameter in parameters:
            if is_shared_out(parameter) and parameter.grad is not None:
                parameter.grad.mul_(self.world)  # FSDP has taken the mean
        had = [float(parameter.grad is not None) for parameter in every]
        anybody = self._reduced(had, "MAX", name)
        trained = [p for p, some in zip(every, anybody, strict=True) if some]
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for bucket in _buckets([p.grad for p in trained if p.grad is not None]):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            with self._together(name):
                distributed.all_reduce(flat)
            for gradient, total in zip(
                bucket, torch.split(flat, [g.numel() for g in bucket]), strict=True
            ):
                gradient.copy_(total.view_as(gradient))

    def _reduced(self, values: Sequence[float], how: str, name: str) -> list[float]:
        if self.world == 1:
            return list(values)
        numbers = torch.tensor(values, dtype=torch.float64)
        with self._together(name):
            distributed.all_reduce(numbers, getattr(distributed.ReduceOp, how))
        found: list[float] = numbers.tolist()
        return found

    @contextmanager
    def _together(self, name: str) -> Iterator[None]:
        """Inside is an exchange: it is waited for, and a failing one is a line that says where."""
        try:
            with self.clock("waiting") if self.clock else nullcontext():
                yield
        except RuntimeError as error:  # gloo's and NCCL's own families are such
            raise waited_in_vain(self, name, error) from error


def _buckets(gradients: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Group gradients of one dtype and device, up to ``BUCKET`` numbers at a time."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        kind = gradient.dtype, gradient.device
        full = sum(g.numel() for g in bucket) + gradient.numel() > BUCKET
        if bucket and (full or kind != (bucket[0].dtype, bucket[0].device)):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket
