"""Expressions of a window as rows, bounds and costs of a program: the sparsity pattern and the numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from baselines.program.window import Expressions
from gridai_env.arrays.types import Bools, Floats, Index

# What rounding may leave in a row without columns, in units of the program.
TOLERANCE = 1e-6


@dataclass
class Sides:
    """Numbers of one window: coefficients in the order of `Structure`, constants of all rows."""

    coefficients: Floats
    constants: Floats
    costs: Floats
    cost_constants: Floats  # [h]


@dataclass
class Structure:
    """Which columns stand in which rows.  Rows of a single column become bounds; rows of none are only checked."""

    pairs: Index  # place of each term of the expressions among the distinct (row, column) pairs
    row: Index  # [pairs] of the expressions
    column: Index  # [pairs]
    size: Index  # [rows] columns in each
    step: Index  # [rows]
    is_equality: Bools  # [rows]
    names: list[tuple[str, int]]  # of blocks of rows, with their first row; one name for each future
    count: int  # of columns
    unit: float  # of amounts inside the solver
    kept: Index = field(init=False)  # rows of more than one column: those of the program
    single: Index = field(init=False)  # pairs that are alone in their row
    many: Index = field(init=False)  # the other pairs

    def __post_init__(self) -> None:
        self.kept = np.flatnonzero(self.size > 1)
        self.single = np.flatnonzero(self.size[self.row] == 1)
        self.many = np.flatnonzero(self.size[self.row] > 1)

    def read(self, found: Expressions) -> Sides:
        """Return the numbers of a window whose expressions have this structure."""
        value = np.concatenate([block.expression.value for block in found.rows])
        constants = np.concatenate([block.expression.constant.ravel() for block in found.rows])
        self._check_empty(constants)
        return Sides(
            coefficients=_summed(self.pairs, value, len(self.row)),
            constants=constants,
            costs=_summed(found.cost.column, found.cost.value, self.count),
            cost_constants=found.cost.constant,
        )

    def narrow(self, sides: Sides, lower: Floats, upper: Floats) -> None:
        """Narrow the bounds of columns in place by the rows ``value * x + constant >= 0`` (or ``== 0``)."""
        value, row, column = sides.coefficients[self.single], self.row[self.single], self.column[self.single]
        end = -sides.constants[row] / np.where(value == 0.0, 1.0, value)
        equal = self.is_equality[row]
        floor, ceiling = (value > 0.0) | (equal & (value != 0.0)), (value < 0.0) | (equal & (value != 0.0))
        np.maximum.at(lower, column[floor], end[floor])
        np.minimum.at(upper, column[ceiling], end[ceiling])

    def next_step(self) -> Index:
        """Return for each row of the program the same one a step later; itself in the last step, [kept]."""
        blocks = [first for _, first in self.names] + [len(self.size)]
        later = np.arange(len(self.size))
        for start, end in pairwise(blocks):
            steps = self.step[start:end]
            per_step = int((steps == steps[:1]).sum())
            later[start : end - per_step] += per_step
        place = np.full(len(self.size), -1)
        place[self.kept] = np.arange(len(self.kept))
        found = place[later[self.kept]]
        return np.where(found >= 0, found, np.arange(len(self.kept)))

    def of_block(self, *names: str) -> Bools:
        """Return whether each row is of one of the blocks ``names``, [rows]; raise KeyError for an unknown one."""
        out = np.zeros(len(self.size), dtype=bool)
        ends = [first for _, first in self.names[1:]] + [len(self.size)]
        if unknown := set(names) - {name for name, _ in self.names}:
            raise KeyError(min(unknown))
        for (name, first), end in zip(self.names, ends, strict=True):
            if name in names:
                out[first:end] = True
        return out

    def _check_empty(self, constants: Floats) -> None:
        """Raise ValueError where a row without columns does not hold."""
        empty = self.size == 0
        slack = TOLERANCE * self.unit
        bad = empty & ((constants < -slack) | (self.is_equality & (constants > slack)))
        if bad.any():
            row = int(bad.argmax())
            raise ValueError(f"the window contradicts itself: {self.name_of(row)}: {constants[row]}")

    def single_rows_of(self, column: int) -> list[str]:
        """Return names of the rows that have no other column than this one."""
        return [self.name_of(int(row)) for row in self.row[self.single][self.column[self.single] == column]]

    def name_of(self, row: int) -> str:
        """Return name and step of a row."""
        block = max(i for i, (_, first) in enumerate(self.names) if first <= row)
        return f"{self.names[block][0]} at step {self.step[row]} of the window"


def _summed(place: Index, value: Floats, size: int) -> Floats:
    """Return the sum of the values at each place, [size]."""
    return np.bincount(place, value, size).astype(np.float64, copy=False)


def structure_of(found: Expressions, count: int, unit: float) -> Structure:
    """Return the structure of a window's expressions; ``count`` columns, ``unit`` of amounts inside the solver."""
    blocks = [block.expression for block in found.rows]
    sizes = [e.constant.size for e in blocks]
    first = np.concatenate([[0], np.cumsum(sizes)])
    row = np.concatenate([e.row + start for e, start in zip(blocks, first, strict=False)])
    column = np.concatenate([e.column for e in blocks])
    # A pair of row and column may occur several times: its values add up in one entry of the matrix.
    distinct, pairs = np.unique(row * count + column, return_inverse=True)

    step = [
        np.repeat(block.first_step + np.arange(len(e.constant)), e.constant.size // max(len(e.constant), 1))
        for block, e in zip(found.rows, blocks, strict=True)
    ]
    return Structure(
        pairs=pairs,
        row=distinct // count,
        column=distinct % count,
        size=np.bincount(distinct // count, minlength=int(first[-1])),
        step=np.concatenate(step),
        is_equality=np.repeat([block.is_equality for block in found.rows], sizes),
        names=[(block.name, int(start)) for block, start in zip(found.rows, first, strict=False)],
        count=count,
        unit=unit,
    )
