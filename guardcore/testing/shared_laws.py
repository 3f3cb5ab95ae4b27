"""What several kinds have in common: one number a row, purity, rows that stand for themselves.

Arguments are a mapping from what an error calls them to what they are, in the order of the call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from guardcore.testing.law import BrokenError
from guardcore.testing.trees import take, tensors

Arguments = Mapping[str, Any]

AT_ZERO = "at d = 0 (change=0)"
ROUNDING = 1e-5
"""Of a row's size: float32 rounds at 6e-8, a reduction over a hundred latents to 1e-6. A bias that
is averaged over a batch is off by 1e-2 and more."""
NOTHING = 1e-9
"""Where 0 is expected: a two-thousandth of the narrowest clip range, 2e-6."""


def expect_rows(values: object, rows: int, what: str) -> Tensor:
    """Return ``values`` if they are a floating tensor ``[rows]`` of at least float32."""
    if not isinstance(values, Tensor):
        raise BrokenError(f"{what} must be a tensor [{rows}], received {type(values).__name__}")
    expect_rows_shape(values, rows, what)
    if not values.is_floating_point() or values.element_size() < 4:
        raise BrokenError(f"{what} must be float32 or float64, received {values.dtype}")
    return values


def expect_rows_shape(values: Tensor, rows: int, what: str) -> None:
    """A number a row is ``[rows]``: not a scalar, and not shaped for latents."""
    if values.shape != (rows,):
        raise BrokenError(f"{what} must be [B] = [{rows}], received {list(values.shape)}")


def shown(values: Tensor) -> str:
    """Return numbers as an error says them: seven digits, and of many the first six."""
    numbers = [f"{value:.7g}" for value in values.detach().flatten()[:6].tolist()]
    if values.ndim == 0:
        return numbers[0]
    return f"[{', '.join(numbers)}{', …' if values.numel() > 6 else ''}]"


def expect_finite(values: Tensor, what: str) -> None:
    """Name the first row that isn't finite."""
    wrong = ~values.isfinite().reshape(len(values), -1).all(1)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise BrokenError(f"{what} must be finite, row {row} is {shown(values[row])}")


def expect_pure(
    call: Callable[..., object], arguments: Arguments, between: Sequence[int] = (0,)
) -> None:
    """Arguments are left alone, and the same call gives the same, also after other rows."""
    before, first = _kept(arguments), _kept(call(*arguments.values()))
    call(*take(arguments, between).values())
    second = _kept(call(*arguments.values()))
    for path, value in _kept(arguments).items():
        if not torch.equal(value, before[path]):
            raise BrokenError(f"{path} was changed in place: return something new")
    for path, value in first.items():
        if not torch.equal(value, second[path]):
            raise BrokenError(
                f"the same call gave {shown(value)}, then {shown(second[path])}: "
                "it keeps state, or draws at random"
            )


def expect_rows_independent(
    call: Callable[..., object], arguments: Arguments, rows: int, size: Tensor | None = None
) -> None:
    """Rows in another order, in halves and alone give what they give in the whole batch.

    Args:
        call: What is tried.
        arguments: Its arguments, each with ``rows`` rows.
        rows: B.
        size: ``[B]``, added to a row's own size in the tolerance: of what may cancel in it.
    """
    whole = _kept(call(*arguments.values()))
    for batch in _other_batches(rows):
        part = _kept(call(*take(arguments, batch).values()))
        for path, values in whole.items():
            expected, received = values[batch].double(), part[path].double()
            largest = expected.abs().reshape(len(batch), -1).amax(1)
            slack = ROUNDING * (largest if size is None else largest + size[batch]) + 1e-12
            slack = slack.reshape(-1, *(1,) * (values.ndim - 1))
            wrong = ((received - expected).abs() > slack) & (received != expected)
            if wrong.any():
                place = int(wrong.nonzero()[0][0])
                raise BrokenError(
                    f"{_named(path)}row {batch[place]} is {shown(expected[place])} in the batch "
                    f"of rows {list(range(rows))} and {shown(received[place])} in that of {batch}"
                )


def gradient_of(values: Tensor, leaf: Tensor, what: str) -> Tensor:
    """Return the gradient of ``values``' sum with respect to ``leaf``."""
    if not values.requires_grad:
        raise BrokenError(f"{what} does not depend on the new velocity: no gradient flows")
    (gradient,) = torch.autograd.grad(values.sum(), leaf, retain_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if gradient is None else gradient


def expect_gradient(gradient: Tensor, what: str) -> None:
    """Every row of ``gradient [B, …]`` has something in it."""
    dead = (gradient == 0).reshape(len(gradient), -1).all(1)
    if dead.any():
        row = int(dead.nonzero()[0])
        raise BrokenError(f"{what} has no gradient in the new velocity in row {row}")


def _other_batches(rows: int) -> list[list[int]]:
    everything, half = list(range(rows)), (rows + 1) // 2
    batches = [everything[::-1], everything[:half], everything[half:], *([r] for r in everything)]
    return [batch for batch in batches if batch]


def _kept(tree: object) -> dict[str, Tensor]:
    return {path: tensor.detach().clone() for path, tensor in tensors(tree).items()}


def _named(path: str) -> str:
    return f"{path} of " if path else ""
