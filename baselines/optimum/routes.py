"""Very large linear programs solved over few routes, and duals of all of them.

Nine of ten routes carry nothing in an hour.  A program without them is small; whether they are missed says what one
more unit of work on them would save.  What relocating comes to has a row for each route and step, whose dual is unknown
where the route is left out; given the other duals, the least that keeps the route unwanted follows from the last step
to the first, and it is exact: between relocations a route is a path through time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from baselines.optimum.highs import Deadline, Method, PersistentSolver
from baselines.optimum.proofs import proven_bound
from baselines.program.linear import LinearProgram, Program
from gridai_env.arrays.types import Bools, Float, Floats, Index

# Routes of a region's row in a step that are open from the beginning, those that are added in a round, and rounds.
FIRST, ADDED, ROUNDS = 3, 4, 6
# What counts as 0, relative to the largest cost or amount.
NOTHING = 1e-8


@dataclass(frozen=True)
class Routes:
    """Where the routes stand in a linear program, [h,C,W,K]; -1: nowhere."""

    served: Index  # columns
    relocated: Index  # columns
    rows: Index  # relocated >= served - growth * served in the step before

    def within(self, rows: Index, columns: Index) -> Routes:
        """Return the same in a part of the program, in the steps that have columns there."""

        def new(index: Index, kept: Index) -> Index:
            place = np.full(max(int(index.max(initial=0)), int(kept.max(initial=0))) + 2, -1)
            place[kept] = np.arange(len(kept))
            return place[index]

        served = new(self.served, columns)
        here = slice(*(np.flatnonzero((served >= 0).any((1, 2, 3)))[[0, -1]] + [0, 1]))
        parts = served, new(self.relocated, columns), new(self.rows, rows)
        return Routes(*(part[here] for part in parts))

    def cheapest(self, lp: LinearProgram, row_dual: Float[Floats, " rows"], count: int = FIRST) -> Bools:
        """Return the routes of each row that are cheapest at some prices, ``count`` in a step, [h,C,W,K]."""
        reduced = np.append(lp.costs - lp.matrix.T @ row_dual, np.inf)[self.served]
        return _least(reduced, count) & (self.served >= 0)

    def completed(
        self, lp: LinearProgram, row_dual: Float[Floats, " rows"], is_open: Bools | None = None
    ) -> tuple[Float[Floats, " rows"], Bools]:
        """Return duals with the best ones of relocation for the others, and the routes that are wanted none the less.

        Wanted are those that save most, `ADDED` in a step, for as long as work stays there, [h,C,W,K]; only where some
        of that is not ``is_open`` (None: nothing is).  Duals of open routes stay as they are.
        """
        has_row, has_before = self.rows >= 0, np.zeros(self.rows.shape, dtype=bool)
        has_before[1:] = (self.rows[1:] >= 0) & (self.served[:-1] >= 0)
        growth = np.zeros(self.rows.shape)
        before = np.roll(self.served, 1, axis=0)[has_before]
        growth[has_before] = np.asarray(lp.matrix.tocsr()[self.rows[has_before], before]).ravel()
        duals = row_dual.copy()
        duals[self.rows[has_row]] = 0.0
        reduced = np.append(lp.costs - lp.matrix.T @ duals, 0.0)
        serving, relocating = reduced[self.served], np.where(has_row, reduced[self.relocated], 0.0)

        # At least what serving here earns, now and by staying for the next step; at most what relocating costs.
        best, need = np.zeros(self.rows.shape), -serving
        is_new = np.ones(self.rows.shape, dtype=bool) if is_open is None else ~is_open
        is_given, given = has_row & ~is_new, row_dual[self.rows]
        for t in reversed(range(len(best))):
            best[t] = np.clip(np.where(is_given[t], given[t], need[t]), 0.0, np.maximum(relocating[t], 0.0))
            if t:
                need[t - 1] += growth[t] * best[t]
                is_new[t - 1] |= is_new[t] & (best[t] > 0.0)
        duals[self.rows[has_row]] = best[has_row]

        nothing = NOTHING * np.abs(lp.costs).max()
        excess = np.where(is_new, need - best, 0.0)
        starts = (excess > nothing) & _least(-excess, ADDED)
        wanted, stays = np.zeros(starts.shape, dtype=bool), np.zeros(starts.shape[1:], dtype=bool)
        for t in range(len(starts)):
            stays = starts[t] | (stays & (best[t] > 0.0))
            wanted[t] = stays
        return duals, wanted & (self.served >= 0)


def _least(values: Floats, count: int) -> Bools:
    """Return where values are among the ``count`` least of the last axis."""
    count = min(count, values.shape[-1])
    return values <= np.partition(values, count - 1, axis=-1)[..., count - 1 : count]


def routes_of(program: Program) -> Routes:
    """Return where the routes stand in a program."""
    relocated, rows = program.flows.relocated_gpuh, np.full(program.size[1] + 1, -1)
    these = program.rows.get("relocated", np.full(1, -1))
    these = these[these >= 0]
    entries = program.lp.matrix.tocsr()[these].tocoo()
    rows[entries.col] = these[entries.row]
    return Routes(program.flows.served_gpuh, relocated, np.where(relocated >= 0, rows[relocated], -1))


@dataclass(frozen=True)
class Found:
    """A solution over some routes, near the optimum over all, with duals of all rows."""

    values: Float[Floats, " columns"]
    row_dual: Float[Floats, " rows"]
    bound: float  # proven, over all routes
    is_open: Bools  # routes that the solution is over, [h,C,W,K]


def solve_routes(
    lp: LinearProgram,
    routes: Routes,
    is_open: Bools,
    clock: Deadline,
    gap: float,
    *,
    unit: float,
    counts: Bools,
    method: Method = "interior",
    threads: int = 1,
    seed: int = 0,
) -> Found | None:
    """Solve over the routes that are open and those that turn out to be wanted; None where time is over before.

    Stop where the objective is within ``gap`` of the bound over all routes, relative to all that costs and earns.
    Raise InfeasibleError where there is no solution.
    """
    best: Found | None = None
    for _ in range(ROUNDS):
        rows, columns = np.ones(lp.matrix.shape[0], dtype=bool), np.ones(lp.matrix.shape[1], dtype=bool)
        for stands, index in ((columns, routes.served), (columns, routes.relocated), (rows, routes.rows)):
            stands[index[(index >= 0) & ~is_open]] = False
        part = lp.part(np.flatnonzero(rows), np.flatnonzero(columns))
        live = PersistentSolver(part, unit=unit, counts=counts[columns], threads=threads, seed=seed)
        result = live.solve(time_limit_s=clock.left_s(), method=method)
        if result.values is None:
            break
        values, duals = np.zeros(lp.matrix.shape[1]), np.zeros(lp.matrix.shape[0])
        values[columns], duals[rows] = result.values, live.row_dual
        duals, wanted = routes.completed(lp, duals, is_open)
        bound = proven_bound(lp, duals)
        if best is not None:
            # Of several duals the best; of solutions the last, which is over more routes.
            duals, bound = max((duals, bound), (best.row_dual, best.bound), key=lambda pair: pair[1])
        best = Found(values, duals, bound, is_open)
        scale = np.abs(lp.costs) @ np.abs(values)
        if lp.costs @ values + lp.offset - bound <= gap * scale or not (wanted & ~is_open).any():
            break
        is_open = is_open | wanted
    return best
