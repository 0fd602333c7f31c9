"""The optimum of one episode at many latency budgets: one compiled program whose routes open and close.

A budget only opens or closes routes, so the program of the widest budget serves all others: closed routes get
the upper bound 0.  Linear programs stay in the solver and start from the basis of the point before.

    chain = LatencySweepSolver(widest, "benefit")
    plans = [chain.solve(instance) for instance in points]      # one episode, budgets from tight to wide
"""

from __future__ import annotations

import time

import numpy as np

from baselines.optimum.milp import Plan, read_plan
from baselines.optimum.relax_and_round import ProgramSolver
from baselines.program.episode import build
from baselines.program.linear import Program
from baselines.program.objectives import OBJECTIVES, Objective
from baselines.program.service_floor import Floor
from gridai_env.arrays.types import Index, Int
from gridai_env.episodes.instance import Instance


class LatencySweepSolver:
    """The program of one objective on one episode, solved again and again for other latency budgets.

    ``widest`` is the episode at the budgets that open most routes; ``floor`` the service that the objectives
    ``cost`` and ``carbon`` must keep at every point, that of the tightest one's benefit plan.  Unlike
    `baselines.optimum.milp.solve`, ``carbon`` does not look for the least cost among plans of equal emissions: the
    frontier asks for the least kg alone.
    """

    def __init__(
        self,
        widest: Instance,
        objective: Objective,
        floor: Floor | None = None,
        *,
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        """Build and compile; raise ValueError where objective and floor do not go together."""
        if objective not in OBJECTIVES:
            raise ValueError(f"objective {objective!r} is unknown; allowed: {', '.join(OBJECTIVES)}")
        if (objective == "benefit") != (floor is None):
            raise ValueError(
                "a floor belongs to the objectives cost and carbon, which need one; benefit has none"
            )

        begin = time.perf_counter()
        self.widest, self.objective = widest, objective
        self.program = build(widest, objective, floor)
        self.solver = ProgramSolver(self.program, starts_warm=True, threads=threads, seed=seed)
        self._columns, self._places = _route_columns(self.program)
        self._upper = self.solver.live.upper[self._columns]
        self._build_s = time.perf_counter() - begin  # counted to the first plan

    def solve(self, instance: Instance, *, mip_gap: float = 1e-4, time_limit_s: float | None = None) -> Plan:
        """Return the optimum of ``instance``: the widest one's episode with fewer routes open.

        Raises ValueError for another episode or one with routes that the widest has not; InfeasibleError where
        the floor cannot be kept.
        """
        self._check(instance)
        begin = time.perf_counter()
        open_routes = instance.params.route_open[tuple(self._places.T)]
        upper = np.where(open_routes > 0.0, self._upper, 0.0)
        self.solver.live.set_column_bounds(self._columns, 0.0, upper)
        result = self.solver.solve(mip_gap=mip_gap, time_limit_s=time_limit_s)
        solve_s, build_s = time.perf_counter() - begin, self._build_s
        self._build_s = 0.0
        return read_plan(instance, self.objective, self.program, result, build_s, solve_s)

    def _check(self, instance: Instance) -> None:
        """Raise ValueError for what the compiled program does not describe."""
        ours, theirs = self.widest.params, instance.params
        if (theirs.route_open > ours.route_open).any():
            raise ValueError(
                f"seed {instance.seed}: opens routes that are closed at the widest budget; build the chain there"
            )

        # All but the routes must be equal, since it enters the coefficients of the program.
        pairs = ((ours, theirs), (self.widest.exogenous, instance.exogenous))
        changed = [
            name
            for mine, other in pairs
            for name in mine.names()
            if name != "route_open" and not np.array_equal(getattr(mine, name), getattr(other, name))
        ]
        if changed:
            raise ValueError(
                f"seed {instance.seed}: not the episode of the chain; {', '.join(changed)} differ"
            )


def _route_columns(program: Program) -> tuple[Int[Index, " N"], Int[Index, "N 3"]]:
    """Return columns of all flows on routes and the route of each as (region, row, site)."""
    columns, places = [], []
    for field in (program.flows.served_gpuh, program.flows.relocated_gpuh):
        columns.append(field[field >= 0])
        places.append(np.argwhere(field >= 0)[:, 1:])
    return np.concatenate(columns), np.concatenate(places)
