"""What making episodes needs of NumPy and torch beyond `gridai_env.arrays.namespace`: look-up, types, sums.

Each function does the same on both, to the same bits on NumPy as before; on tensors nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from gridai_env.arrays import namespace
from gridai_env.state import Array


def pick(table: Array, at: Array) -> Array:
    """Entries of a table [N], or rows of one [N,n], at the integers ``at``: [*at.shape] or [*at.shape,n]."""
    return table.take(at, axis=0) if isinstance(table, np.ndarray) else namespace(table).pick(table, at)


def columns(x: Array, at: np.ndarray) -> Array:
    """``x`` [...,N] with the columns ``at`` (integers, the host's) in their order; ``x`` itself where that is all."""
    if len(at) == x.shape[-1] and (at == np.arange(len(at))).all():
        return x
    return x.take(at, axis=-1) if isinstance(x, np.ndarray) else namespace(x).columns(x, at)


def empty(shape: tuple[int, ...], beside: Array) -> Array:
    """An array of this shape, still to be written, of the real type of another (a batch innermost on a device)."""
    if isinstance(beside, np.ndarray):
        return np.empty(shape, dtype=np.result_type(beside.dtype, np.float32))
    return namespace(beside).empty(shape, beside)


def single(x: Array) -> Array:
    """``x`` as float32."""
    return x.astype(np.float32, copy=False) if isinstance(x, np.ndarray) else x.float()


def double(x: Array) -> Array:
    """``x`` as float64."""
    return x.astype(np.float64, copy=False) if isinstance(x, np.ndarray) else x.double()


def real(x: Array, as_in: Array) -> Array:
    """Yes and no, or integers, as 1.0, 0.0 or numbers of the type of another array."""
    return x.astype(as_in.dtype) if isinstance(x, np.ndarray) else x.to(as_in.dtype)


def whole(x: Array) -> Array:
    """Numbers without what follows the point, int64."""
    return x.astype(np.int64) if isinstance(x, np.ndarray) else x.long()


def short(x: Array) -> Array:
    """Integers as int32."""
    return x.astype(np.int32) if isinstance(x, np.ndarray) else x.int()


def mix(x: Array, weights: Array, out: Array) -> None:
    """Write products of matrices [b,L,n] and one [n,m] to ``out`` [b,L,m]: rounded alike however many there are."""
    if isinstance(x, np.ndarray):
        np.matmul(x, weights, out=out)
    else:
        namespace(x).mix(x, weights, out)


def mixed_row(x: Array, weights: Array) -> Array:
    """``weights`` [m,n] times each vector of ``x`` [b,n], [b,m]: rounded alike however many there are."""
    return np.matmul(weights, x[..., None])[..., 0] if isinstance(x, np.ndarray) else x @ weights.T


def add_scaled(x: Array, y: Array, scale: float) -> None:
    """``x += scale * y``; ``y`` is used up."""
    if isinstance(x, np.ndarray):
        y *= scale
        x += y
    else:
        x.add_(y, alpha=scale)


def add_product(x: Array, y: Array, z: Array) -> None:
    """``x += y * z``."""
    if isinstance(x, np.ndarray):
        x += y * z
    else:
        x.addcmul_(y, z)


def within(x: Array, least: Array, most: Array) -> Array:
    """``x``, at least and at most these."""
    if isinstance(x, np.ndarray):
        return np.minimum(np.maximum(x, least), most)
    return namespace(x).clip(x, least, most)


def decay(x: Array, kept: Array) -> Array:
    """``x(t) += kept * x(t-1)`` along axis 1 of [b,T,n], ``kept`` [n]: what is written stays in ``x``, returned."""
    if not isinstance(x, np.ndarray):
        return namespace(x).decay(x, kept)
    before = np.empty_like(x[:, 0])
    for last, now in pairwise(x.swapaxes(0, 1)):
        np.multiply(last, kept, out=before)
        now += before
    return x


def write_where(mask: Array, x: Array, make: Callable[..., Array], *inputs: Array) -> Array:
    """``x`` with ``make(*inputs)``, computed element by element, where the mask holds; ``x`` is used up.

    Rare elements cost little on NumPy.
    """
    if not isinstance(x, np.ndarray):
        return namespace(x).where(mask, make(*inputs), x)
    on = np.nonzero(mask)
    x[on] = make(*(values[on] for values in inputs))
    return x


def window_sum(x: Array, width: int) -> Array:
    """Sum over the last ``width`` entries along axis 1, this one included; nothing comes before the first."""
    if not isinstance(x, np.ndarray):
        return namespace(x).window_sum(x, width)
    x = np.ascontiguousarray(x)
    out = x.copy()
    for back in range(1, min(width, x.shape[1])):
        out[:, back:] += x[:, :-back]
    return out


def in_order(x: Array) -> Array:
    """The order that sorts the last axis, int64; equals stay as they stand."""
    if isinstance(x, np.ndarray):
        return np.argsort(x, axis=-1, kind="stable")
    return namespace(x).in_order(x)
