"""A program as arrays, as a builder makes it and a solver takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from baselines.program.service_floor import FLOOR_SLACK, Floor
from gridai_env.arrays.types import Bool, Bools, Float, Floats, Index, Int
from gridai_env.world.size import unit_of
from gridai_env.world.state import Flows, Params


@dataclass
class LinearProgram:
    """Minimise ``costs @ x + offset`` with ``row_lower <= matrix @ x <= row_upper`` and ``lower <= x <= upper``."""

    matrix: sparse.csc_matrix  # [rows, columns]
    costs: Float[Floats, " columns"]
    lower: Float[Floats, " columns"]
    upper: Float[Floats, " columns"]
    row_lower: Float[Floats, " rows"]
    row_upper: Float[Floats, " rows"]
    integer: Bools  # [columns] whole numbers are demanded
    offset: float = 0.0

    def part(self, rows: Index, columns: Index) -> LinearProgram:
        """Return some rows and columns of the program, without its offset and without whole numbers."""
        return LinearProgram(
            matrix=self.matrix[:, columns].tocsr()[rows].tocsc(),
            costs=self.costs[columns],
            lower=self.lower[columns],
            upper=self.upper[columns],
            row_lower=self.row_lower[rows],
            row_upper=self.row_upper[rows],
            integer=np.zeros(len(columns), dtype=bool),
        )


# Kinds of rows that belong to no step.
OF_EPISODE = ("floor served", "floor started", "carbon cap")


@dataclass(frozen=True)
class Program:
    """The perfect-foresight program of an episode, and where each flow, decision and row stands in it."""

    p: Params
    lp: LinearProgram
    flows: Flows  # [T,...] of columns, -1: always 0
    charging: Index  # [T,K] yes/no columns, -1: there is no choice
    running: Index  # [T,K] the same
    # Columns that count jobs or say yes or no; all others are amounts, which grow with the scenario, [columns].
    counts: Bools
    column_step: Index  # [columns] of a flow or decision, or of the flows that lead to a state
    # Rows of each kind, [T, places] for limits and "next <state>"; -1: a number that nothing depends on.  From Pyomo
    # only as far as rows stand, and no kind without any.
    rows: dict[str, Index]
    reaches_back: bool = False  # rows depend on flows of the days before: a baseline does

    @property
    def row_step(self) -> Int[Index, " rows"]:
        """Step of each row, -1 for rows of a whole episode: those of a service floor or a cap."""
        out = np.full(self.size[0], -1)
        for kind, index in self.rows.items():
            if kind not in OF_EPISODE:
                there = index >= 0
                out[index[there]] = np.argwhere(there)[:, 0]
        return out

    @property
    def unit(self) -> float:
        """Unit of amounts inside the solver."""
        return unit_of(self.p)

    @property
    def size(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.lp.matrix.shape

    @property
    def integer(self) -> Bools:
        """Columns of yes/no decisions, [columns]."""
        return self.lp.integer

    @property
    def is_by_steps(self) -> bool:
        """Whether each row belongs to a step, so that the program can be split in time."""
        return not any(kind in self.rows for kind in OF_EPISODE)

    def is_integral(self, values: Float[Floats, " columns"]) -> bool:
        """Return whether the integer columns hold whole numbers exactly, so that fixing them changes nothing."""
        choices = values[self.integer]
        return bool(np.array_equal(choices, np.round(choices)))

    def flows_of(self, values: Float[Floats, " columns"]) -> Flows:
        """Return the flows [T,...] in a solution."""
        values = np.append(values, 0.0)  # index -1: always 0
        return self.flows.map(lambda columns: values[columns])

    def name_of(self, row: int) -> str:
        """Return kind and place of a row, "queue[3,0,1]" (the step comes first)."""
        for kind, index in self.rows.items():
            for place in np.argwhere(index == row).tolist():
                return f"{kind}[{','.join(map(str, place))}]" if place else kind
        raise KeyError(row)


# What rounding may leave in a row of numbers, in units of the program.
CONSTANT_SLACK = 1e-6

# Limits that are zero somewhere have a price there too: their flows keep a column in a program that is to be priced.
PRICED_AT_ZERO = ("import_mw", "export_mw")


def contradicts(values: Floats, is_equality: bool, unit: float) -> Bools:
    """Return which rows that nothing depends on do not hold."""
    slack = CONSTANT_SLACK * unit
    return (values < -slack) | (is_equality & (values > slack))


def contradiction(kind: str, place: Sequence[int], value: float) -> ValueError:
    """Return the error of such a row; the step comes first in ``place``, but for rows of a whole episode."""
    where = f"index {tuple(place)}"
    if kind not in OF_EPISODE:
        where = f"at step {place[0]}, index {tuple(place[1:])}"
    return ValueError(f"instance contradicts itself: {kind} {where}: {value}")


def check_floor(floor: Floor, has_work: Bool[Bools, " W"], may_start: Bool[Bools, " J"], unit: float) -> None:
    """Raise ValueError where a floor wants what an instance cannot give: it is that of another one."""
    other = "which this instance never {}: floor of another instance?"
    for w in np.flatnonzero(~has_work & (floor.served_gpuh > FLOOR_SLACK * unit)):
        raise ValueError(f"floor wants work of row {w}, {other.format('has')}")
    for j in np.flatnonzero(~may_start & (floor.started > 0.5)):
        raise ValueError(f"floor wants job {j}, {other.format('lets start')}")
