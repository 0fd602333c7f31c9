"""A plan of a program whose decisions are fixed, window by window instead of as a whole.

Where a linear program of a week takes a minute, its days take a second each.  What a window leaves to the steps after
it is worth what the duals of the relaxed program say: rows of later steps that its columns stand in are priced
(Lagrangian relaxation), so that batteries, queues and peaks are handed on well.  The plan is feasible; how good it is
says its distance to the bound of the relaxation.
"""

from __future__ import annotations

import numpy as np

from baselines.optimum import InfeasibleError, SolverError
from baselines.optimum.highs import Deadline, PersistentSolver
from baselines.program.linear import LinearProgram, Program
from gridai_env.arrays.types import Float, Floats

# Hours that a window sees, and that are kept of it.
WINDOW_H, KEPT_H = 30.0, 24.0


def plan_by_windows(
    program: Program,
    bounds: tuple[Float[Floats, " columns"], Float[Floats, " columns"]],
    row_dual: Float[Floats, " rows"],
    clock: Deadline,
    *,
    threads: int = 1,
    seed: int = 0,
) -> Float[Floats, " columns"] | None:
    """Return a solution within ``bounds``; None where a window has none or time is over.

    ``row_dual`` of the relaxed program.  Programs with rows of no step (a service floor, a cap) have no such plan.
    """
    lp, steps = program.lp, len(program.flows.charge_mw)
    seen, kept = (max(round(hours / program.p.dt_h), 1) for hours in (WINDOW_H, KEPT_H))
    if (program.row_step < 0).any():
        return None

    rows, values = lp.matrix.tocsr(), np.zeros(len(lp.costs))
    is_done = np.zeros(len(values), dtype=bool)
    for start in range(0, steps, kept):
        end = min(start + seen, steps)
        here = np.flatnonzero(~is_done & (program.column_step < end))
        now, later = (program.row_step >= start) & (program.row_step < end), program.row_step >= end
        # What earlier windows have decided stands on the right.
        before = rows[now] @ values
        part = LinearProgram(
            matrix=rows[now][:, here].tocsc(),
            costs=lp.costs[here] - rows[later][:, here].T @ row_dual[later],
            lower=bounds[0][here],
            upper=bounds[1][here],
            row_lower=lp.row_lower[now] - before,
            row_upper=lp.row_upper[now] - before,
            integer=np.zeros(len(here), dtype=bool),
        )
        live = PersistentSolver(
            part, unit=program.unit, counts=program.counts[here], threads=threads, seed=seed
        )
        try:
            found = live.solve(time_limit_s=clock.left_s())
        except (InfeasibleError, SolverError):
            return None
        if found.values is None:
            return None

        last = steps if end == steps else start + kept
        is_kept = program.column_step[here] < last
        values[here[is_kept]] = found.values[is_kept]
        is_done[here[is_kept]] = True
        if end == steps:
            break
    return values
