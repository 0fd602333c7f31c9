"""What making episodes needs of NumPy and torch beyond `gridai_env.arrays.ops.namespace`: look-up, types, sums.

Each function does the same on both, to the same bits on NumPy as before; on tensors nothing waits for the device.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from gridai_env.arrays.types import Array


def take_rows(table: Array, at: Array) -> Array:
    """Return entries of a table [N] at the integers ``at``, [*at.shape], or rows of one [N,n], [*at.shape,n]."""
    return table.take(at, axis=0) if isinstance(table, np.ndarray) else namespace(table).take_rows(table, at)


def columns(x: Array, at: np.ndarray) -> Array:
    """Return the columns ``at`` (integers on the host) of ``x`` [...,N]; ``x`` itself where these are all, in order."""
    if len(at) == x.shape[-1] and (at == np.arange(len(at))).all():
        return x
    return x.take(at, axis=-1) if isinstance(x, np.ndarray) else namespace(x).columns(x, at)


def empty(shape: tuple[int, ...], beside: Array) -> Array:
    """Return an uninitialised array of this shape and of the real type of another (a batch innermost on a device)."""
    if isinstance(beside, np.ndarray):
        return np.empty(shape, dtype=np.result_type(beside.dtype, np.float32))
    return namespace(beside).empty(shape, beside)


def room(shape: tuple[int, ...], like: Array) -> Array:
    """Return an uninitialised array of this shape, with the type of another, beside it."""
    return (
        np.empty(shape, dtype=like.dtype)
        if isinstance(like, np.ndarray)
        else namespace(like).room(shape, like)
    )


def zeros(shape: tuple[int, ...], like: Array) -> Array:
    """Return zeros of this shape, with the type of another, beside it."""
    found = room(shape, like)
    found[...] = 0
    return found


def has_gradients(x: Array) -> bool:
    """Return whether gradients are asked for by an array (never one of NumPy)."""
    return bool(getattr(x, "requires_grad", False)) and bool(namespace(x).is_grad_enabled())


def address(x: Array) -> int:
    """Return where an array lies in memory."""
    return int(x.__array_interface__["data"][0] if isinstance(x, np.ndarray) else x.data_ptr())


def in_memory_order(x: Array) -> Array:
    """Return an array whose last axis lies innermost, then the last but one, ...; itself where it does."""
    return np.ascontiguousarray(x) if isinstance(x, np.ndarray) else x.contiguous()


def as_type_of(x: Array, like: Array) -> Array:
    """Return numbers in the type of another array of the same kind."""
    return x.astype(like.dtype, copy=False) if isinstance(like, np.ndarray) else x.to(like.dtype)


def copied(x: Array, beside: Array | None = None) -> Array:
    """Return a copy without history, in its own place or beside another array."""
    if isinstance(x, np.ndarray):
        return np.array(x)
    return x.detach().to(x.device if beside is None else beside.device, copy=True)


def batch_last(x: Array) -> Array:
    """Return ``x`` [B,...] as a view [...,B]."""
    return x.transpose((*range(1, x.ndim), 0)) if isinstance(x, np.ndarray) else x.movedim(0, -1)


def batch_first(x: Array) -> Array:
    """Return ``x`` [...,B] as a view [B,...]."""
    return x.transpose((x.ndim - 1, *range(x.ndim - 1))) if isinstance(x, np.ndarray) else x.movedim(-1, 0)


def beside(at: np.ndarray, like: Array) -> Array:
    """Return indices of the host beside an array."""
    return at if isinstance(like, np.ndarray) else namespace(like).moved(at, like.device)


def as_float32(x: Array) -> Array:
    """Return ``x`` as float32."""
    return x.astype(np.float32, copy=False) if isinstance(x, np.ndarray) else x.float()


def as_float64(x: Array) -> Array:
    """Return ``x`` as float64."""
    return x.astype(np.float64, copy=False) if isinstance(x, np.ndarray) else x.double()


def real(x: Array, as_in: Array) -> Array:
    """Return booleans or integers as numbers of the type of another array."""
    return x.astype(as_in.dtype) if isinstance(x, np.ndarray) else x.to(as_in.dtype)


def to_int64(x: Array) -> Array:
    """Return numbers truncated to int64."""
    return x.astype(np.int64) if isinstance(x, np.ndarray) else x.long()


def as_int32(x: Array) -> Array:
    """Return integers as int32."""
    return x.astype(np.int32) if isinstance(x, np.ndarray) else x.int()


def matmul_rows(x: Array, weights: Array, out: Array) -> None:
    """Write the products of matrices [b,L,n] and one [n,m] to ``out`` [b,L,m], rounded alike for every b."""
    if isinstance(x, np.ndarray):
        np.matmul(x, weights, out=out)
    else:
        namespace(x).matmul_rows(x, weights, out)


def mixed_row(x: Array, weights: Array) -> Array:
    """Return ``weights`` [m,n] times each vector of ``x`` [b,n]: [b,m], rounded alike for every b."""
    if isinstance(x, np.ndarray):
        return np.matmul(weights, x[..., None])[..., 0]
    return namespace(x).mixed_row(x, weights)


def product(x: Array, y: Array) -> Array:
    """Return ``x @ y``, on tensors at full precision whatever torch may do to matrix products."""
    is_tensor = (torch := sys.modules.get("torch")) is not None and isinstance(x, torch.Tensor)
    return namespace(x).product(x, y) if is_tensor else x @ y


def add_scaled(x: Array, y: Array, scale: float) -> None:
    """Add ``scale * y`` to ``x`` in place; ``y`` is overwritten."""
    if isinstance(x, np.ndarray):
        y *= scale
        x += y
    else:
        x.add_(y, alpha=scale)


def add_product(x: Array, y: Array, z: Array) -> None:
    """Add ``y * z`` to ``x`` in place."""
    if isinstance(x, np.ndarray):
        x += y * z
    else:
        x.addcmul_(y, z)


def within(x: Array, least: Array, most: Array) -> Array:
    """Return ``x`` clipped to [least, most]."""
    if isinstance(x, np.ndarray):
        return np.minimum(np.maximum(x, least), most)
    return namespace(x).clip(x, least, most)


def decay(x: Array, kept: Array) -> Array:
    """Add ``kept * x(t-1)`` to ``x(t)`` along axis 1 of [b,T,n], in place, and return ``x``; ``kept`` is [n]."""
    if not isinstance(x, np.ndarray):
        return namespace(x).decay(x, kept)
    before = np.empty_like(x[:, 0])
    for last, now in pairwise(x.swapaxes(0, 1)):
        np.multiply(last, kept, out=before)
        now += before
    return x


def update_where(mask: Array, x: Array, make: Callable[..., Array], *inputs: Array) -> Array:
    """Return ``x`` with ``make(*inputs)``, computed element by element, where the mask holds; ``x`` is overwritten.

    Rare elements cost little on NumPy.
    """
    if not isinstance(x, np.ndarray):
        return namespace(x).where(mask, make(*inputs), x)
    on = np.nonzero(mask)
    x[on] = make(*(values[on] for values in inputs))
    return x


def window_sum(x: Array, width: int) -> Array:
    """Return the sums over the last ``width`` entries along axis 1, this one included; before the first stands 0."""
    if not isinstance(x, np.ndarray):
        return namespace(x).window_sum(x, width)
    x = np.ascontiguousarray(x)
    out = x.copy()
    for back in range(1, min(width, x.shape[1])):
        out[:, back:] += x[:, :-back]
    return out


def stable_argsort(x: Array) -> Array:
    """Return the order that sorts the last axis, int64; equal entries keep their order."""
    if isinstance(x, np.ndarray):
        return np.argsort(x, axis=-1, kind="stable")
    return namespace(x).stable_argsort(x)


# NumPy sums eight or more neighbours pairwise, but only along the axis that lies innermost in memory.
PAIRWISE_FROM = 8


def namespace(x: Any) -> ModuleType:
    """Return NumPy, or `gridai_env.arrays.torch_ops` (NumPy's names for torch) where ``x`` is a tensor."""
    if isinstance(x, np.ndarray | float):
        return np
    from gridai_env.arrays import torch_ops as tensors

    return tensors


def all_zero(x: Any) -> bool:
    """Return whether ``x`` is zero or False everywhere, so that a step may skip what would change nothing.

    Always False for tensors: checking would synchronise with the device.
    """
    return isinstance(x, np.ndarray) and not x.any()


def positions(x: Any, axis: int) -> Any:
    """Return 0, 1, 2, ... along an axis of ``x``, on its device."""
    return np.arange(x.shape[axis]) if isinstance(x, np.ndarray) else namespace(x).positions(x, axis)


def as_real(x: Any, like: Any) -> Any:
    """Return numbers [B,n] of the type and on the device of ``like``, batch axis innermost in memory."""
    if isinstance(like, np.ndarray):
        return np.array(x.T, dtype=np.float64, order="C").T
    return namespace(like).as_real(x, like)


def constant(x: np.ndarray, like: Any) -> Any:
    """Return an array on the device of ``like``; floating-point numbers get its type, indices keep theirs."""
    return x if isinstance(like, np.ndarray) else namespace(like).constant(x, like)


class Constants:
    """Arrays that are used beside NumPy arrays and beside tensors, on whose device they are put once."""

    def __init__(self, **arrays: np.ndarray) -> None:
        self._at: dict[Any, SimpleNamespace] = {None: SimpleNamespace(**arrays)}

    def beside(self, like: Any) -> SimpleNamespace:
        """Return them by name: as they are for an array, on its device for a tensor."""
        device = None if isinstance(like, np.ndarray) else like.device
        if device not in self._at:
            xp, given = namespace(like), vars(self._at[None])
            self._at[device] = SimpleNamespace(**{name: xp.moved(x, device) for name, x in given.items()})
        return self._at[device]


def put_at(default: Any, index: Any, values: Any) -> Any:
    """Return ``default`` [A] with ``values`` [...,m] at the places ``index`` [m], [...,A]."""
    if not isinstance(values, np.ndarray):
        return namespace(values).put_at(default, index, values)
    full = np.empty((*values.shape[:-1], len(default)), dtype=default.dtype)
    full[...] = default
    full[..., index] = values
    return full


def total(x: Any, axis: int) -> Any:
    """Return the sum over one axis (counted from the end), to the same bits in any memory layout.

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
    """Return `total` over the last axis of several arrays, in one go where that is faster.

    Their shapes are equal, or some have one entry along an axis that stands for all.
    """
    if any(type(x) is not np.ndarray or x.dtype.kind == "O" for x in arrays):
        return [x.sum(-1) for x in arrays]
    if len({x.shape for x in arrays}) > 1:
        arrays = list(np.broadcast_arrays(*arrays))
    return list(total(np.array(arrays), -1))


def flipped(x: Any) -> Any:
    """Return ``x`` with its first axis the other way round."""
    return x[::-1] if isinstance(x, np.ndarray) else x.flip(0)


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


def shift_in(x: Any, last: Any) -> Any:
    """Drop the first entry of the last axis and append ``last``, which lacks that axis."""
    if type(x) is np.ndarray and type(last) is np.ndarray:
        out = np.empty_like(x, dtype=np.result_type(x, last))  # in the memory layout of x
        out[..., :-1], out[..., -1] = x[..., 1:], last
        return out
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        return torch.cat([x[..., 1:], last[..., None]], -1)
    return x.shift_in(last)  # arrays of another kind bring their own


def batch_innermost(x: Any) -> Any:
    """Return the same array [B,...] laid out with the batch axis innermost in memory, so that batches vectorise."""
    if not isinstance(x, np.ndarray):
        return namespace(x).batch_innermost(x)
    if x.ndim <= 1:
        return np.array(x)
    return batch_first(np.array(batch_last(x), order="C"))


decisions_are_smooth: ContextVar[bool] = ContextVar("decisions_are_smooth", default=False)


@contextmanager
def smooth_decisions() -> Iterator[None]:
    """Let yes/no decisions have the gradient of a smooth one near them while the block runs; results stay the same."""
    before = decisions_are_smooth.set(True)
    try:
        yield
    finally:
        decisions_are_smooth.reset(before)


def straight_through(hard: Any, smooth: Callable[[], Any], asked: Any) -> Any:
    """Return ``hard``, inside `smooth_decisions` with the gradient of ``smooth()`` (Bengio et al., 2013).

    Only where what was ``asked`` carries a gradient.  A yes/no decision has no slope of its own.
    """
    if not decisions_are_smooth.get() or not getattr(asked, "requires_grad", False):
        return hard
    near = smooth()
    return hard.detach() + (near - near.detach())
