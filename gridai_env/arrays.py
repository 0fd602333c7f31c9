"""The few array operations that NumPy, torch and object arrays do not share, or do not do alike."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

# NumPy sums eight or more neighbours pairwise, but only along the axis that lies innermost in memory.
PAIRWISE_FROM = 8


def total(x: Any, axis: int) -> Any:
    """Sum over one axis (counted from the end), to the same bits in any memory layout.

    A batch lies in memory with the batch axis innermost, a single episode cannot; summed in chunks shorter than
    NumPy's pairwise blocks, both add in the same order, so that row i of a batch is that episode alone.
    """
    if type(x) is not np.ndarray or x.dtype.kind == "O":
        return x.sum(axis)
    size = x.shape[axis]
    if size < PAIRWISE_FROM or (axis != -1 and x.shape[-1] > 1):
        return np.add.reduce(x, axis)  # one number after the other already
    chunk = PAIRWISE_FROM - 1
    where: list[Any] = [slice(None)] * x.ndim
    out = None
    for start in range(0, size, chunk):
        where[axis] = slice(start, start + chunk)
        part = np.add.reduce(x[tuple(where)], axis)
        out = part if out is None else out + part
    return out


def total_each(arrays: list[Any]) -> list[Any]:
    """`total` over the last axis of several arrays of one shape, in one go where that is faster."""
    if any(type(x) is not np.ndarray or x.dtype.kind == "O" for x in arrays):
        return [x.sum(-1) for x in arrays]
    return list(total(np.array(arrays), -1))


def shift_left(x: Any) -> Any:
    """Drop the first entry of the last axis and append a zero."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        return torch.cat([x[..., 1:], torch.zeros_like(x[..., :1])], -1)
    if not isinstance(x, np.ndarray):
        return x.shift_left()  # arrays of another kind bring their own
    out = np.zeros_like(x)  # in the memory layout of x
    out[..., :-1] = x[..., 1:]
    return out


def batch_innermost(x: Any) -> Any:
    """The same array [B,...] laid out in memory with the batch axis innermost, so that batches vectorise."""
    if x.ndim <= 1:
        return np.array(x)
    order = (*range(1, x.ndim), 0)
    back = (x.ndim - 1, *range(x.ndim - 1))
    return np.array(x.transpose(order), order="C").transpose(back)
