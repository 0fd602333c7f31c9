"""A plan of a program whose decisions are fixed, window by window instead of as a whole.

Where a linear program of a week takes a minute, its days take a second each.  What a window leaves to the steps after
it is worth what the duals of the relaxed program say: rows of later steps that its columns stand in are priced
(Lagrangian relaxation), so that batteries, queues and peaks are handed on well.  The plan is feasible; how good it is
says its distance to the bound of the relaxation.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from baselines.optimum.highs import Deadline
from baselines.optimum.routes import routes_of, solve_routes
from baselines.program.linear import LinearProgram, Program
from gridai_env.arrays.types import Float, Floats

# What is kept of a window: so many hours, less where they have more rows than this, or than this without those of
# relocation (the larger counts); and how much more it sees.
KEPT_H, KEPT_ROWS, KEPT_OTHERS, SEEN = 24.0, 20_000, 4_000, 1.25
# Below it a flow is none, in units of the program.
NOTHING = 1e-6


@dataclass(frozen=True)
class WindowsPlan:
    """A solution put together from windows, and the duals that its rows had in theirs."""

    values: Float[Floats, " columns"]
    row_dual: Float[Floats, " rows"]


def kept_steps(program: Program) -> int:
    """Return the steps that are kept of a window."""
    relocation, steps = program.rows.get("relocated", np.full(1, -1)), len(program.flows.charge_mw)
    rows = max(program.size[0], 1)
    others = max(rows - int((relocation >= 0).sum()), 1)
    kept = steps * max(KEPT_ROWS / rows, KEPT_OTHERS / others)
    return max(min(round(KEPT_H / program.p.dt_h), int(kept)), 1)


def plan_by_windows(
    program: Program,
    lp: LinearProgram,
    row_dual: Float[Floats, " rows"],
    clock: Deadline,
    *,
    gap: float = 0.0,
    threads: int = 1,
    seed: int = 0,
) -> WindowsPlan | None:
    """Return a solution of ``lp``, the program with its bounds and costs as they are now; None where time is over.

    ``row_dual`` of the relaxed program, or a guess; ``gap`` of each window, see `solve_routes`.
    Raise InfeasibleError where a window has no solution, ValueError for rows that belong to no step (a service floor, a
    cap).
    """
    if not program.is_by_steps:
        raise ValueError("rows of a whole episode (a service floor, a cap) cannot be split in time")
    steps, row_step, kept = len(program.flows.charge_mw), program.row_step, kept_steps(program)
    seen, rows = ceil(SEEN * kept), lp.matrix.tocsr()
    values, duals = np.zeros(len(lp.costs)), np.zeros(len(row_step))
    routes = routes_of(program)
    cheapest = np.zeros(len(lp.costs) + 1, dtype=bool)
    cheapest[routes.served[routes.cheapest(lp, row_dual)]] = True
    for start in range(0, max(steps - seen, 0) + kept, kept):
        end = min(start + seen, steps)
        now, later = np.flatnonzero((row_step >= start) & (row_step < end)), row_step >= end
        here = np.flatnonzero((program.column_step >= start) & (program.column_step < end))
        # What earlier windows have decided stands on the right; rows of later steps reach one step
        # back, those of a baseline many days.
        before, part = rows[now] @ values, lp.part(now, here)
        part.costs -= rows[later][:, here].T @ row_dual[later]
        part.row_lower -= before
        part.row_upper -= before
        mine = routes.within(now, here)
        # What carried work before may go on.
        last = routes.served[max(start - kept, 0) : start]
        is_used = (np.append(values, 0.0)[last] > NOTHING * program.unit).any(0)
        found = solve_routes(
            part,
            mine,
            (mine.served >= 0) & (is_used | np.append(cheapest[here], False)[mine.served]),
            clock,
            gap,
            unit=program.unit,
            counts=program.counts[here],
            threads=threads,
            seed=seed,
        )
        if found is None:
            return None

        is_kept = program.column_step[here] < (steps if end == steps else start + kept)
        values[here[is_kept]] = found.values[is_kept]
        # The first step was inside the window before, which was free in the states that lead to it.
        step = row_step[now]
        is_inside = ((step > start) | (start == 0)) & ((step <= start + kept) | (end == steps))
        duals[now] = np.where(is_inside, found.row_dual, duals[now])
        if end == steps:
            break
    return WindowsPlan(values, routes.completed(lp, duals)[0])
