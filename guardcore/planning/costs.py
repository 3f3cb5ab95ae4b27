"""What micro-batches of any size cost, from two that are traced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from guardcore.outline import Outline
from guardcore.planning.trace import Cost, MicroBatch, traced

Piece = Literal["forward", "update", "decode"]
PIECES: tuple[Piece, ...] = ("forward", "update", "decode")
_SMALLER: Mapping[str, tuple[Piece, ...]] = {
    "weights": (),
    "update": ("update",),
    "decode": ("decode",),
    "all": PIECES,
}


class Costs:
    """Traces of one outline, each made when it is asked for.

    Tracing a large model takes seconds, so only the whole micro-batch and a single image are
    traced. Between them FLOPs are a line through both, and so are bytes: a peak is the largest of
    several sums that each grow with the rows, so it lies on the line or below it.
    """

    def __init__(
        self,
        outline: Outline,
        size: tuple[int, int],
        rows: int,
        known: Mapping[tuple[Piece, int], Cost] | None = None,
    ) -> None:
        self.outline = outline
        self._size = size
        self._rows = rows
        self._known = dict(known or {})

    def of(self, piece: Piece, rows: int) -> Cost:
        """Return what ``rows`` images cost."""
        whole = self._traced(piece, max(rows, self._rows))
        if rows >= self._rows:
            return whole
        one = self._traced(piece, 1)
        share = (rows - 1) / (self._rows - 1)
        fields = ("flops", "peak", "saved")
        ends = [(getattr(one, field), getattr(whole, field)) for field in fields]
        return Cost(*(round(first + share * (last - first)) for first, last in ends))

    def all(self, rows: int) -> dict[str, Cost]:
        """Return every piece's cost."""
        return {piece: self.of(piece, rows) for piece in PIECES}

    def sizes(self) -> dict[str, int]:
        """Return ``latent``, numbers, and ``condition``, bytes, of one image."""
        batch = self._batch(self._rows)
        return {"latent": batch.latent, "condition": batch.condition}

    def changed(self, outline: Outline, smaller: str) -> Costs:
        """Return the costs of another outline that differs in what ``smaller`` says."""
        stale = _SMALLER[smaller]
        known = {key: cost for key, cost in self._known.items() if key[0] not in stale}
        return Costs(outline, self._size, self._rows, known)

    def _traced(self, piece: Piece, rows: int) -> Cost:
        if (piece, rows) not in self._known:
            work: Callable[[], Cost] = getattr(self._batch(rows), piece)
            self._known[piece, rows] = traced(work)
        return self._known[piece, rows]

    def _batch(self, rows: int) -> MicroBatch:
        return MicroBatch(self.outline, rows, *self._size)
