"""NumPy's names for torch: what the shared equations call on tensors (see `arrays.namespace`).

Only what is needed, with NumPy's meaning: a plain number may stand for an array, axes are called ``axis``.  Nothing
here waits for the device or reads from it.  Imported only where a tensor came in.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

MOVED_ONCE_BYTES = 2**16  # constants up to this size are kept on the device
ADDED_UP_TO, ADDED_FROM = 16, 1536  # entries along the axis, and of the result, where `total` adds

inf = float("inf")
abs = torch.abs
argmax = torch.argmax
clip = torch.clamp
cos = torch.cos
exp = torch.exp
floor = torch.floor
full_like = torch.full_like
log = torch.log
ones_like = torch.ones_like
searchsorted = torch.searchsorted
sin = torch.sin
sqrt = torch.sqrt
zeros_like = torch.zeros_like


def minimum(x: Tensor, y: Tensor | float) -> Tensor:
    """The smaller of two, element by element."""
    return torch.minimum(x, y) if isinstance(y, Tensor) else torch.clamp_max(x, y)


def maximum(x: Tensor, y: Tensor | float) -> Tensor:
    """The larger of two, element by element."""
    return torch.maximum(x, y) if isinstance(y, Tensor) else torch.clamp_min(x, y)


def where(condition: Tensor, x: Tensor | float, y: Tensor | float) -> Tensor:
    """``x`` where the condition holds, else ``y``."""
    return torch.where(condition, x, y)


def cumsum(x: Tensor, axis: int) -> Tensor:
    """Sums from the first entry on along an axis."""
    return torch.cumsum(x, axis)


def total(x: Tensor, axis: int) -> Tensor:
    """Sum over one axis; many sums of few entries are added up one entry after the other.

    On a processor torch sums several times slower along an axis that does not lie innermost.
    """
    size = x.shape[axis]
    few = 2 <= size <= ADDED_UP_TO and x.numel() >= size * ADDED_FROM
    if not few or x.device.type != "cpu" or not x.is_floating_point():
        return x.sum(axis)
    first, second, *rest = (x.select(axis, i) for i in range(size))
    return reduce(torch.add, rest, first + second)


def amin(x: Tensor, axis: int) -> Tensor:
    """The smallest along an axis."""
    return torch.amin(x, axis)


def amax(x: Tensor, axis: int) -> Tensor:
    """The largest along an axis."""
    return torch.amax(x, axis)


def concatenate(parts: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Tensors one after the other along an axis."""
    if not _is_batch_innermost(parts[0]):
        return torch.cat(list(parts), axis)
    inner = axis % parts[0].ndim - 1  # -1 where the batch grows
    return torch.cat([x.movedim(0, -1) for x in parts], inner).movedim(-1, 0)


def stack(parts: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Tensors side by side along a new axis."""
    if axis == 0 or not _is_batch_innermost(parts[0]):
        return torch.stack(list(parts), axis)
    return torch.stack([x.movedim(0, -1) for x in parts], axis % (parts[0].ndim + 1) - 1).movedim(-1, 0)


def _is_batch_innermost(x: Tensor) -> bool:
    """Whether the first axis is the innermost in memory: what is put together then lies so, too."""
    return x.ndim > 1 and x.shape[0] > 1 and x.stride(0) == 1


def broadcast_to(x: Tensor, shape: Sequence[int]) -> Tensor:
    """A view of ``x`` in a larger shape."""
    return torch.broadcast_to(x, tuple(shape))


def take_along_axis(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """Entries of ``x`` at ``index`` along an axis; other axes broadcast."""
    return torch.take_along_dim(x, index, axis)


def sort(x: Tensor, axis: int = -1) -> Tensor:
    """Sorted along an axis."""
    return torch.sort(x, axis).values


def positions(x: Tensor, axis: int) -> Tensor:
    """0, 1, 2, ... along an axis of ``x``, on its device."""
    return torch.arange(x.shape[axis], device=x.device)


def constant(x: np.ndarray | Tensor, like: Tensor) -> Tensor:
    """An array on the device of ``like``; numbers (not indices) get its type.  It is not to be written to."""
    if isinstance(x, Tensor):
        return x
    dtype = like.dtype if x.dtype.kind == "f" and like.is_floating_point() else None
    if x.nbytes > MOVED_ONCE_BYTES:
        return torch.as_tensor(x, device=like.device, dtype=dtype)
    return _moved(x.tobytes(), x.shape, x.dtype.str, dtype, like.device)


@lru_cache(maxsize=4096)
def _moved(
    data: bytes, shape: tuple[int, ...], kind: str, dtype: torch.dtype | None, device: torch.device
) -> Tensor:
    """An array by its bytes on a device: what was moved once is not moved again.  Nobody may write to it."""
    host = torch.from_numpy(np.frombuffer(bytearray(data), dtype=kind).reshape(shape))
    return host.to(device=device, dtype=dtype)


def as_real(x: Any, like: Tensor) -> Tensor:
    """``x`` with the type of ``like`` on its device, batch axis innermost in memory."""
    moved = torch.as_tensor(x, device=like.device).to(like.dtype)
    return moved.T.contiguous().T if moved.ndim == 2 else moved


def batch_innermost(x: Tensor) -> Tensor:
    """The same tensor [B,...] laid out in memory with the batch axis innermost."""
    return x.movedim(0, -1).contiguous().movedim(-1, 0)


# For making episodes (see `gridai_env.arrays.ops`) -------------------------------------------------------------------


def take_rows(table: Tensor, at: Tensor) -> Tensor:
    """Entries (rows, where it has two axes) of a table at integers [B,...], the batch axis innermost in memory."""
    inner = at.movedim(0, -1)
    if table.ndim == 1:
        return table[inner].movedim(-1, 0)
    return table.T[:, inner].movedim(0, -1).movedim(-2, 0)


def columns(x: Tensor, at: np.ndarray) -> Tensor:
    """Columns of the last axis, the batch axis innermost in memory."""
    return torch.stack([x[..., int(i)].movedim(0, -1) for i in at], -2).movedim(-1, 0)


def empty(shape: tuple[int, ...], beside: Tensor) -> Tensor:
    """Memory for [B,...], the batch axis innermost."""
    return torch.empty((*shape[1:], shape[0]), dtype=beside.dtype, device=beside.device).movedim(-1, 0)


def matmul_rows(x: Tensor, weights: Tensor, out: Tensor) -> None:
    """Write [b,L,n] times [n,m] to ``out``; the batch axis lies innermost."""
    inner = x.movedim(0, -1)
    torch.bmm(weights.T.expand(len(inner), -1, -1), inner, out=out.movedim(0, -1))


def window_sum(x: Tensor, width: int) -> Tensor:
    """Sums over the last ``width`` entries along axis 1, from sums over 1, 2, 4, ... of them."""
    width = min(width, x.shape[1])
    total, covered, part, span = x, 0, x, 1
    while covered < width:
        if width & span:
            total = _plus_earlier(total, part, covered) if covered else part
            covered += span
        part, span = _plus_earlier(part, part, span), 2 * span
    return total


def _plus_earlier(x: Tensor, y: Tensor, steps: int) -> Tensor:
    """``x`` plus what ``y`` was some steps before, along axis 1."""
    out = x.clone()
    out[:, steps:] += y[:, :-steps]
    return out


def stable_argsort(x: Tensor) -> Tensor:
    """The order that sorts the last axis; equals stay as they stand."""
    return torch.argsort(x, dim=-1, stable=True)


def decay(x: Tensor, kept: Tensor) -> Tensor:
    """``x(t) += kept * x(t-1)`` along axis 1 of [b,T,n], in place; one operation per step reads least."""
    steps = x.movedim(0, -1).unbind(0)
    for last, now in pairwise(steps):
        now.addcmul_(last, kept[:, None])
    return x


def take(x: Tensor, at: Tensor, axis: int) -> Tensor:
    """Entries of ``x`` along an axis."""
    return torch.index_select(x, axis, at)


copy = torch.clone
