"""NumPy's names for torch: what the shared equations call on tensors (see `arrays.namespace`).

Only what is needed, with NumPy's meaning: a plain number may stand for an array, axes are called ``axis``.  Nothing
here waits for the device or reads from it.  Imported only where a tensor came in.
"""

from collections.abc import Sequence
from functools import lru_cache, partial, reduce
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

MOVED_ONCE_BYTES = 2**16  # constants up to this size are kept on the device
ADDED_UP_TO, ADDED_FROM = 16, 1536  # entries along the axis, and of the result, where `total` adds

clip = torch.clamp
copy = torch.clone
stable_argsort = partial(torch.argsort, dim=-1, stable=True)
take_along_axis = torch.take_along_dim


def __getattr__(name: str) -> Any:
    """Return what has NumPy's name in torch, too, which takes its ``axis`` for ``dim``."""
    found = globals()[name] = getattr(torch, name)
    return found


def minimum(x: Tensor, y: Tensor | float) -> Tensor:
    """Return the smaller of two, element by element."""
    return torch.minimum(x, y) if isinstance(y, Tensor) else torch.clamp_max(x, y)


def fmax(x: Tensor, y: Tensor | float) -> Tensor:
    """Return the larger of both; where ``x`` is NaN it is ``y``."""
    return torch.fmax(x, y if isinstance(y, Tensor) else x.new_full((), y))


def maximum(x: Tensor, y: Tensor | float) -> Tensor:
    """Return the larger of two, element by element."""
    return torch.maximum(x, y) if isinstance(y, Tensor) else torch.clamp_min(x, y)


def total(x: Tensor, axis: int) -> Tensor:
    """Return the sum over one axis; many sums of few entries are added up one entry after the other.

    On a processor torch sums several times slower along an axis that does not lie innermost.
    """
    size = x.shape[axis]
    few = 2 <= size <= ADDED_UP_TO and x.numel() >= size * ADDED_FROM
    if not few or x.device.type != "cpu" or not x.is_floating_point():
        return x.sum(axis)
    first, second, *rest = (x.select(axis, i) for i in range(size))
    return reduce(torch.add, rest, first + second)


def concatenate(parts: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Return tensors one after the other along an axis."""
    if not _is_batch_innermost(parts[0]):
        return torch.cat(list(parts), axis)
    inner = axis % parts[0].ndim - 1  # -1 where the batch grows
    return torch.cat([x.movedim(0, -1) for x in parts], inner).movedim(-1, 0)


def stack(parts: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Return tensors side by side along a new axis."""
    if axis == 0 or not _is_batch_innermost(parts[0]):
        return torch.stack(list(parts), axis)
    return torch.stack([x.movedim(0, -1) for x in parts], axis % (parts[0].ndim + 1) - 1).movedim(-1, 0)


def _is_batch_innermost(x: Tensor) -> bool:
    """Return whether the first axis is the innermost in memory; what is put together then lies so, too."""
    return x.ndim > 1 and x.shape[0] > 1 and x.stride(0) == 1


def positions(x: Tensor, axis: int) -> Tensor:
    """Return 0, 1, 2, ... along an axis of ``x``, on its device."""
    return torch.arange(x.shape[axis], device=x.device)


def constant(x: np.ndarray | Tensor, like: Tensor) -> Tensor:
    """Return an array on the device of ``like``; floating-point numbers get its type.  It must not be written to."""
    if isinstance(x, Tensor):
        return x
    dtype = like.dtype if x.dtype.kind == "f" and like.is_floating_point() else None
    if x.nbytes > MOVED_ONCE_BYTES:
        return moved(x, like.device, dtype)
    return moved_once(x.tobytes(), x.shape, x.dtype.str, dtype, like.device)


@lru_cache(maxsize=4096)
def moved_once(
    data: bytes, shape: tuple[int, ...], kind: str, dtype: torch.dtype | None, device: torch.device
) -> Tensor:
    """Return an array, given by its bytes, on a device; it is moved once and must not be written to."""
    return moved(np.frombuffer(bytearray(data), dtype=kind).reshape(shape), device, dtype)


def moved(x: np.ndarray | Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return an array of the host on a device, in its own type or another; the one door for uploads.

    A copy from ordinary memory would wait for all that the device still has to do.
    """
    host = torch.as_tensor(x, dtype=dtype)
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host.to(device)


def put_at(default: Tensor, index: Tensor, values: Tensor) -> Tensor:
    """Return ``default`` [A] with ``values`` [...,m] at the places ``index`` [m], [...,A]."""
    return default.expand(*values.shape[:-1], -1).index_copy(-1, index, values.to(default.dtype))


def as_real(x: Any, like: Tensor) -> Tensor:
    """Return ``x`` with the type of ``like`` on its device, batch axis innermost in memory."""
    moved = torch.as_tensor(x, device=like.device).to(like.dtype)
    return moved.T.contiguous().T if moved.ndim == 2 else moved


def batch_innermost(x: Tensor) -> Tensor:
    """Return the same tensor [B,...] laid out in memory with the batch axis innermost."""
    return x.movedim(0, -1).contiguous().movedim(-1, 0)


# For making episodes (see `gridai_env.arrays.ops`) -------------------------------------------------------------------


def take_rows(table: Tensor, at: Tensor) -> Tensor:
    """Return entries (rows, where it has two axes) of a table at integers [B,...], the batch axis innermost."""
    inner = at.movedim(0, -1)
    if table.ndim == 1:
        return table[inner].movedim(-1, 0)
    return table.T[:, inner].movedim(0, -1).movedim(-2, 0)


def columns(x: Tensor, at: np.ndarray) -> Tensor:
    """Return columns of the last axis, the batch axis innermost in memory."""
    if not len(at):
        return x[..., :0]
    return torch.stack([x[..., int(i)].movedim(0, -1) for i in at], -2).movedim(-1, 0)


def empty(shape: tuple[int, ...], beside: Tensor) -> Tensor:
    """Return uninitialised memory for [B,...], the batch axis innermost."""
    return torch.empty((*shape[1:], shape[0]), dtype=beside.dtype, device=beside.device).movedim(-1, 0)


def room(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return uninitialised memory beside a tensor."""
    return torch.empty(shape, dtype=like.dtype, device=like.device)


def matmul_rows(x: Tensor, weights: Tensor, out: Tensor) -> None:
    """Write [b,L,n] times [n,m] to ``out``; the batch axis lies innermost."""
    inner = x.movedim(0, -1).double()  # settings of torch for float32 (TF32, bfloat16) do not reach these
    out.movedim(0, -1).copy_(torch.bmm(weights.T.double().expand(len(inner), -1, -1), inner))


def mixed_row(x: Tensor, weights: Tensor) -> Tensor:
    """Return ``weights`` [m,n] times each vector of ``x`` [b,n]: [b,m]."""
    return (x.double() @ weights.T.double()).to(x.dtype)


def product(x: Tensor, y: Tensor) -> Tensor:
    """Return ``x @ y`` of small matrices, written out: a setting of torch for matrix products does not reach it."""
    return total(x[..., None] * y[..., None, :, :], -2)


def window_sum(x: Tensor, width: int) -> Tensor:
    """Return sums over the last ``width`` entries along axis 1, built from sums over 1, 2, 4, ... of them."""
    width = min(width, x.shape[1])
    total, covered, part, span = x, 0, x, 1
    while covered < width:
        if width & span:
            total = _plus_earlier(total, part, covered) if covered else part
            covered += span
        part, span = _plus_earlier(part, part, span), 2 * span
    return total


def _plus_earlier(x: Tensor, y: Tensor, steps: int) -> Tensor:
    """Return ``x`` plus what ``y`` was some steps before, along axis 1."""
    out = x.clone()
    out[:, steps:] += y[:, :-steps]
    return out


def decay(x: Tensor, kept: Tensor) -> Tensor:
    """Add ``kept * x(t-1)`` to ``x(t)`` along axis 1 of [b,T,n], in place; one operation per step reads least."""
    steps = x.movedim(0, -1).unbind(0)
    for last, now in pairwise(steps):
        now.addcmul_(last, kept[:, None])
    return x


def take(x: Tensor, at: Tensor, axis: int) -> Tensor:
    """Return the entries ``at`` of ``x`` along an axis."""
    return torch.index_select(x, axis, at)
