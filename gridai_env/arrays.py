"""The few array operations that NumPy, torch and object arrays do not share, or do not do alike."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np

# NumPy sums eight or more neighbours pairwise, but only along the axis that lies innermost in memory.
PAIRWISE_FROM = 8


def namespace(x: Any) -> ModuleType:
    """NumPy, or `gridai_env.tensors` (NumPy's names for torch) where ``x`` is a tensor."""
    if isinstance(x, np.ndarray | float):
        return np
    from gridai_env import tensors

    return tensors


def nowhere(x: Any) -> bool:
    """Whether ``x`` is zero or false everywhere, so that a step may leave out what it would not change.

    Of a tensor nobody asks: the answer would have to come from the device, which costs more than the work.
    """
    return isinstance(x, np.ndarray) and not x.any()


def positions(x: Any, axis: int) -> Any:
    """0, 1, 2, ... along an axis of ``x``, where ``x`` lives."""
    return np.arange(x.shape[axis]) if isinstance(x, np.ndarray) else namespace(x).positions(x, axis)


def as_real(x: Any, like: Any) -> Any:
    """Numbers [B,n] as real as ``like`` and where it lives, with the batch axis innermost in memory."""
    if isinstance(like, np.ndarray):
        return np.array(x.T, dtype=np.float64, order="C").T
    return namespace(like).as_real(x, like)


def constant(x: np.ndarray, like: Any) -> Any:
    """An array where ``like`` lives; numbers (not indices) as real as ``like``."""
    return x if isinstance(like, np.ndarray) else namespace(like).constant(x, like)


def total(x: Any, axis: int) -> Any:
    """Sum over one axis (counted from the end), to the same bits in any memory layout.

    A batch lies in memory with the batch axis innermost, a single episode cannot; summed in chunks shorter than
    NumPy's pairwise blocks, both add in the same order, so that row i of a batch is that episode alone.
    """
    if type(x) is not np.ndarray or x.dtype.kind == "O":
        torch = sys.modules.get("torch")
        is_tensor = torch is not None and isinstance(x, torch.Tensor)
        return namespace(x).total(x, axis) if is_tensor else x.sum(axis)
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
    if not isinstance(x, np.ndarray):
        return namespace(x).batch_innermost(x)
    if x.ndim <= 1:
        return np.array(x)
    order = (*range(1, x.ndim), 0)
    back = (x.ndim - 1, *range(x.ndim - 1))
    return np.array(x.transpose(order), order="C").transpose(back)
