"""The perfect-foresight program of one instance, made by the simulator's own physics on affine arrays of all steps.

The rows come from `baselines.program.rows`.  Added here: bounds, the objective, and the service floor of the objectives
``cost`` and ``carbon``.  `baselines.program.formulation` builds the same program in Pyomo, step by step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import sparse

from baselines.program.affine import Affine
from baselines.program.linear import (
    PRICED_AT_ZERO,
    LinearProgram,
    Program,
    check_floor,
    contradiction,
    contradicts,
)
from baselines.program.objectives import Objective, goal, last_resorts
from baselines.program.rows import charging_choices, flow_ceilings, state_ceilings
from baselines.program.service_floor import FLOOR_SLACK, Floor
from baselines.program.window import ONLY_FIRST, make_columns, window_rows
from gridai_env.arrays.types import Array, Bools, Float, Floats, Index
from gridai_env.episodes.instance import Instance
from gridai_env.world.size import unit_of
from gridai_env.world.state import Flows, State

Builder = Literal["affine", "pyomo"]


def build(
    instance: Instance,
    objective: Objective,
    floor: Floor | None,
    carbon_cap_kg: float | None = None,
    priced: bool = False,
    builder: Builder = "affine",
) -> Program:
    """Build the program.  The objective is minimised: minus benefit, cost, or kg.

    ``carbon_cap_kg`` bounds the objective that ``carbon`` would have (ties of a least-carbon plan go to the least
    cost).  ``priced``: leave out the ceilings that follow from other limits, so that duals fall on the limits alone.
    ``builder``: "pyomo" is the readable formulation of the same program, and takes many times as long.
    """
    if builder == "pyomo":
        from baselines.program.formulation import build as formulate  # Pyomo takes a second to import

        return formulate(instance, objective, floor, carbon_cap_kg, priced)
    return _Builder(instance, objective, floor, carbon_cap_kg, priced).build()


@dataclass
class _Block:
    """Rows of one kind."""

    kind: str
    expression: Affine  # at least 0
    is_equality: bool = False  # 0 instead
    where: Bools | None = None  # places that need the row, as the expression or its first axes; None: all

    def is_needed(self) -> Bools:
        """Return which entries are rows, flat."""
        shape = self.expression.shape
        if self.where is None:
            return np.ones(self.expression.constant.size, dtype=bool)
        # Places without steps stand for all of them.
        where = self.where if self.where.ndim > 1 else self.where[None]
        return np.broadcast_to(where.reshape(*where.shape, *[1] * (len(shape) - where.ndim)), shape).ravel()


class _Builder:
    """Builds a program; one instance of it per build."""

    def __init__(
        self,
        instance: Instance,
        objective: Objective,
        floor: Floor | None,
        carbon_cap_kg: float | None,
        priced: bool,
    ) -> None:
        self.instance, self.p, self.exo = instance, instance.params, instance.exogenous
        self.objective, self.floor, self.cap_kg, self.priced = objective, floor, carbon_cap_kg, priced
        emissions_count = objective == "carbon" or carbon_cap_kg is not None
        self.two_way = charging_choices(self.p, self.exo, emissions_count)
        # What may not wait has a queue as well where its limit, 0, is to be priced.
        self.columns = make_columns(
            self.p, instance.compiled.shape, instance.steps, charging=self.two_way, all_queue=priced
        )
        self.lower, self.upper = self._bounds()

    def build(self) -> Program:
        """Return the program of all steps."""
        columns, lower, upper = self.columns, self.lower, self.upper
        is_open = lower < upper
        new = np.append(np.where(is_open, np.cumsum(is_open) - 1, -1), -1)  # of a column; -1: always 0
        flows = columns.flows.map(lambda index: new[index])
        if self.floor is not None:
            has_work, may_start = (flows.served_gpuh >= 0).any((0, 1, 3)), (flows.started >= 0).any((0, 2))
            check_floor(self.floor, has_work, may_start, unit_of(self.p))
        blocks, goals = self._rows()
        known = np.where(is_open, 0.0, lower)
        matrix, constants, places = _assembled(blocks, known, is_open, unit_of(self.p))

        costs = np.bincount(goals.column, goals.value, columns.count).astype(np.float64, copy=False)
        equal = np.concatenate([np.full(b.expression.constant.size, b.is_equality) for b in blocks])
        stands = np.concatenate([index.ravel() for index in places.values()]) >= 0
        integer = np.zeros(columns.count, dtype=bool)
        integer[columns.choices] = True
        lp = LinearProgram(
            matrix=matrix,
            costs=costs[is_open],
            lower=lower[is_open],
            upper=upper[is_open],
            row_lower=-constants[stands],
            row_upper=np.where(equal, -constants, np.inf)[stands],
            integer=integer[is_open],
            offset=float(goals.constant + costs[~is_open] @ lower[~is_open]),
        )
        return Program(
            p=self.p,
            lp=lp,
            flows=flows,
            charging=new[columns.charging],
            running=new[columns.running],
            counts=columns.counts[is_open],
            column_step=columns.step[is_open],
            rows=places,
            reaches_back=self.instance.compiled.shape.day_steps > 0,
        )

    # Bounds -----------------------------------------------------------------------------------------------------

    def _bounds(self) -> tuple[Float[Floats, " columns"], Float[Floats, " columns"]]:
        """Return the bounds of all columns; those of equal bounds are known beforehand."""
        columns, initial = self.columns, self.instance.initial
        lower, upper = np.zeros(columns.count), np.zeros(columns.count)
        upper[columns.modes] = 1.0

        def limit(index: Index, most: Array) -> None:
            there = index >= 0
            upper[index[there]] = np.broadcast_to(most, index.shape)[there]

        carried = np.concatenate([initial.backlog_gpuh[None], self.exo.queue_limit_gpuh[:-1]])
        # A longer queue would bring work to steps that have none.
        most = flow_ceilings(self.p, self.exo, carried + 1.0 if self.priced else carried)
        for name, ceiling in most.items():
            if self.priced:
                ceiling = np.where((ceiling > 0.0) | (name in PRICED_AT_ZERO), np.inf, 0.0)
            limit(getattr(columns.flows, name), ceiling)
        limit(columns.flows.started, self.exo.job_open > 0.5)

        ceilings = state_ceilings(self.p, self.exo)
        for name in State.names():
            index = getattr(columns.state, name)
            if name not in ONLY_FIRST:
                limit(index[1:], np.array(np.inf) if self.priced else ceilings[name])
            known = np.broadcast_to(getattr(initial, name), index[0].shape)
            lower[index[0][index[0] >= 0]] = upper[index[0][index[0] >= 0]] = known[index[0] >= 0]
        return lower, upper

    # Rows -------------------------------------------------------------------------------------------------------

    def _rows(self) -> tuple[list[_Block], Affine]:
        """Return all rows, and what is minimised."""
        p, instance = self.p, self.instance
        flows = self.columns.flows.map(Affine.of_columns)
        found, outcome = window_rows(p, self.columns, self.exo, self.two_way)
        blocks = [_Block(name, rows.expression, rows.is_equality, rows.where) for name, rows in found.items()]

        def summed(objective: Objective) -> Affine:
            return goal(p, flows, outcome, objective, last_resorts(instance, objective)).sum()

        if self.floor is not None:
            blocks += self._service_floor(flows)
        if self.cap_kg is not None:
            blocks.append(_Block("carbon cap", self.cap_kg - summed("carbon")))
        return blocks, summed(self.objective)

    def _service_floor(self, flows: Flows) -> list[_Block]:
        """Demand the same jobs, start and site free, and per row of work at least that of the floor."""
        assert self.floor is not None
        served = flows.served_gpuh.sum((0, 1, 3)) - self.floor.served_gpuh * (1.0 - FLOOR_SLACK)
        started = flows.started.sum((0, 2)) - np.round(self.floor.started)
        return [_Block("floor served", served), _Block("floor started", started, is_equality=True)]


def _assembled(
    blocks: list[_Block], known: Float[Floats, " columns"], is_open: Bools, unit: float
) -> tuple[sparse.csc_matrix, Floats, dict[str, Index]]:
    """Return the matrix of the rows and columns that are left, the constants of all rows, and where rows stand."""
    sizes = [block.expression.constant.size for block in blocks]
    first = np.concatenate([[0], np.cumsum(sizes)])
    row = np.concatenate([b.expression.row + start for b, start in zip(blocks, first, strict=False)])
    column = np.concatenate([b.expression.column for b in blocks])
    value = np.concatenate([b.expression.value for b in blocks])
    whole = sparse.csr_matrix((value, (row, column)), shape=(first[-1], len(is_open)))
    whole.sum_duplicates()
    constants = np.concatenate([b.expression.constant.ravel() for b in blocks]) + whole @ known

    left = whole[:, is_open]
    left.eliminate_zeros()
    needed = np.concatenate([b.is_needed() for b in blocks])
    stands = needed & (np.diff(left.indptr) > 0)
    index = np.where(stands, np.cumsum(stands) - 1, -1)
    places = {}
    for block, start, size in zip(blocks, first, sizes, strict=False):
        these, shape = slice(start, start + size), block.expression.shape
        numbers = np.where((needed & ~stands)[these], constants[these], 0.0).reshape(shape)
        for place in np.argwhere(contradicts(numbers, block.is_equality, unit)).tolist():
            raise contradiction(block.kind, place, numbers[tuple(place)])
        places[block.kind] = index[these].reshape(shape)
    return left[stands].tocsc(), constants, places
