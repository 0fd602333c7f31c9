"""Arrays of affine expressions: what the equations of `gridai_env.world.physics` need of an array, and nothing more.

An `Affine` holds a number and a sparse row of coefficients for each of its entries.  Run on such arrays, the
simulator's own functions give all rows and costs of a program at once, for a whole window of steps (a leading
axis), in milliseconds.  Zero coefficients are kept: which columns a row has depends on the operations alone,
never on prices, so that a program keeps its structure while its coefficients change.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from gridai_env.arrays.types import Floats, Index


class Affine:
    """``constant + sum of value * column``, entry by entry; ``row`` is the flat index of the entry.

    A pair (row, column) may occur more than once; its values add up.
    """

    __array_ufunc__ = None  # NumPy leaves mixed arithmetic to this class

    def __init__(self, constant: Floats, row: Index, column: Index, value: Floats) -> None:
        """Constants of any shape, and three vectors of equal length."""
        self.constant, self.row, self.column, self.value = constant, row, column, value

    @classmethod
    def of_columns(cls, columns: Index) -> Affine:
        """Return the columns of a program as an array; 0 where the index is negative."""
        flat = columns.ravel()
        row = np.flatnonzero(flat >= 0)
        return cls(np.zeros(columns.shape), row, flat[row], np.ones(len(row)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.constant.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.constant.ndim

    # Arithmetic -----------------------------------------------------------------------------------------------

    def __neg__(self) -> Affine:
        return Affine(-self.constant, self.row, self.column, -self.value)

    def __add__(self, other: Any) -> Affine:
        if not isinstance(other, Affine):
            mine = self.broadcast_to(np.broadcast_shapes(self.shape, np.shape(other)))
            return Affine(mine.constant + other, mine.row, mine.column, mine.value)
        shape = np.broadcast_shapes(self.shape, other.shape)
        a, b = self.broadcast_to(shape), other.broadcast_to(shape)
        return Affine(
            a.constant + b.constant,
            np.concatenate([a.row, b.row]),
            np.concatenate([a.column, b.column]),
            np.concatenate([a.value, b.value]),
        )

    __radd__ = __add__

    def __sub__(self, other: Any) -> Affine:
        return self + (-other)

    def __rsub__(self, other: Any) -> Affine:
        return -self + other

    def __mul__(self, factor: Any) -> Affine:
        if isinstance(factor, Affine):
            raise TypeError("a product of two affine expressions is not affine")
        mine = self.broadcast_to(np.broadcast_shapes(self.shape, np.shape(factor)))
        each = np.broadcast_to(np.asarray(factor, dtype=float), mine.shape).ravel()
        return Affine(mine.constant * factor, mine.row, mine.column, mine.value * each[mine.row])

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Affine:
        if isinstance(divisor, Affine):
            raise TypeError("a quotient of two affine expressions is not affine")
        return self * (1.0 / np.asarray(divisor, dtype=float))

    def __matmul__(self, other: Any) -> Affine:
        """Return the product with a matrix of numbers, [...,I,J] @ [...,J,N]."""
        return (self[..., None] * np.asarray(other, dtype=float)[..., None, :, :]).sum(-2)

    # Shape ----------------------------------------------------------------------------------------------------

    def _moved(self, shape: tuple[int, ...], constant: Floats, to: Index) -> Affine:
        """Return entries at new flat places ``to`` (-1: gone) of an array of another shape."""
        row = to[self.row]
        kept = row >= 0
        if kept.all():
            return Affine(constant.reshape(shape), row, self.column, self.value)
        return Affine(constant.reshape(shape), row[kept], self.column[kept], self.value[kept])

    def __getitem__(self, key: Any) -> Affine:
        """Return entries at a basic index (integers, slices, None, ...)."""
        places = np.arange(self.constant.size).reshape(self.shape)[key]
        to = np.full(self.constant.size, -1)
        to[places.ravel()] = np.arange(places.size)
        return self._moved(places.shape, self.constant[key], to)

    def swapaxes(self, a: int, b: int) -> Affine:
        """Return the array with two axes exchanged."""
        places = np.arange(self.constant.size).reshape(self.shape).swapaxes(a, b)
        to = np.empty(self.constant.size, dtype=np.intp)
        to[places.ravel()] = np.arange(places.size)
        return self._moved(places.shape, self.constant.swapaxes(a, b), to)

    def sum(self, axis: int | Sequence[int] | None = None) -> Affine:
        """Return the sum over axes, over all by default."""
        axes = tuple(range(self.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        axes = tuple(a % max(self.ndim, 1) for a in axes)
        kept = tuple(1 if i in axes else n for i, n in enumerate(self.shape))
        to = np.broadcast_to(np.arange(prod(kept)).reshape(kept), self.shape).ravel()
        constant: Any = self.constant.sum(axes)
        return self._moved(np.shape(constant), np.asarray(constant), to)

    def shift_left(self) -> Affine:
        """Drop the first entry of the last axis and append a zero."""
        to = np.arange(self.constant.size).reshape(self.shape) - 1
        to[..., 0] = -1
        constant = np.zeros(self.shape)
        constant[..., :-1] = self.constant[..., 1:]
        return self._moved(self.shape, constant, to.ravel())

    def shift_in(self, last: Any) -> Affine:
        """Drop the first entry of the last axis and append ``last``, an array that lacks that axis."""
        moved, places = self.shift_left(), np.arange(self.constant.size).reshape(self.shape)[..., -1].ravel()
        constant = moved.constant
        constant[..., -1] = last.constant if isinstance(last, Affine) else last
        if not isinstance(last, Affine):
            return moved
        return Affine(
            constant,
            np.concatenate([moved.row, places[last.row]]),
            np.concatenate([moved.column, last.column]),
            np.concatenate([moved.value, last.value]),
        )

    @classmethod
    def stack(cls, arrays: Sequence[Affine]) -> Affine:
        """Return arrays of one shape along a new leading axis."""
        size = arrays[0].constant.size
        return cls(
            np.stack([x.constant for x in arrays]),
            np.concatenate([x.row + i * size for i, x in enumerate(arrays)]),
            np.concatenate([x.column for x in arrays]),
            np.concatenate([x.value for x in arrays]),
        )

    def broadcast_to(self, shape: tuple[int, ...]) -> Affine:
        """Return the array repeated to a larger shape."""
        if shape == self.shape:
            return self

        size = self.constant.size
        source = np.broadcast_to(np.arange(size).reshape(self.shape), shape).ravel()
        copies = len(source) // size if size else 0
        # All places that an entry goes to, [size, copies].
        places = np.argsort(source, kind="stable").reshape(size, copies)

        return Affine(
            np.broadcast_to(self.constant, shape),
            places[self.row].ravel(),
            np.repeat(self.column, copies),
            np.repeat(self.value, copies),
        )

    # Reading --------------------------------------------------------------------------------------------------

    def at(self, values: Floats) -> Floats:
        """Return the values of the expressions where the columns have ``values``."""
        found = np.bincount(self.row, self.value * values[self.column], self.constant.size)
        return self.constant + found.reshape(self.shape)
