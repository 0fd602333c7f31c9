"""Yes/no decisions of a window: which ones a relaxed plan leaves open, and how they are rounded.

Jobs, minimum loads and charging with discharging are demanded only where the relaxed plan leaves them open, and the
program is solved again until none is: what is left relaxed is whole already, so the plan is optimal to the gap.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from baselines.optimum.highs import Deadline, PersistentSolver, SolverResult
from baselines.optimum.relax_and_round import RelaxAndRound
from baselines.optimum.rounding import rounded_starts
from baselines.program.window import Columns
from gridai_env.arrays.types import Bools, Float, Floats, Index
from gridai_env.world.state import Flows, Params, State

# A flow below this share of its limit counts as 0: the tolerance of the solver.
NOTHING = 1e-6


class WholeWindow(RelaxAndRound):
    """One window whose numbers are loaded; ``state`` is the state before it."""

    def __init__(self, live: PersistentSolver, futures: Sequence[Columns], p: Params, state: State) -> None:
        """Decide with the constants ``p`` that hold for this window; ``futures``: the columns of each."""
        super().__init__(live)
        self.futures, self.p, self.state = futures, p, state
        upper = np.append(live.upper, 0.0)  # index -1: always 0
        self.may_start: Bools = upper[futures[0].flows.started] > 0.5
        self.choices: Index = np.unique(np.concatenate([columns.choices for columns in futures]))

    def open_columns(self, values: Float[Floats, " columns"]) -> Index:
        """Return the yes/no columns whose relaxed value is fractional, so that they are still undecided.

        Charging with discharging, running below the minimum load, and all starts of jobs that start in part.
        """
        return np.unique(np.concatenate([self._open_in(columns, values) for columns in self.futures]))

    def _open_in(self, columns: Columns, values: Float[Floats, " columns"]) -> Index:
        """Return the undecided columns of one future."""
        p, flows = self.p, columns.flows_of(values)
        burns = np.minimum(flows.charge_mw, flows.discharge_mw) > NOTHING * p.charge_limit_mw
        slow = (flows.generation_mw > NOTHING * p.generator_min_mw) & (
            flows.generation_mw < (1.0 - NOTHING) * p.generator_min_mw
        )
        parts = np.abs(flows.started - np.round(flows.started)) > NOTHING
        split = np.broadcast_to(parts.any((0, 2))[:, None], parts.shape)

        found = [columns.charging[burns], columns.running[slow], columns.flows.started[split]]
        together = np.concatenate(found)
        return together[together >= 0]

    def rounded_first(self, relaxed: SolverResult, clock: Deadline, mip_gap: float) -> SolverResult:
        """Return the better of the plans that start a job now, or later, where the relaxed one does so in part."""
        assert relaxed.values is not None
        is_open = self.open_columns(relaxed.values)
        futures = self._flows_of(relaxed.values)

        found = []
        for started in now_and_later(futures[0].started):
            guess = [flows.replace(started=started) for flows in futures]
            plan = self.rounded_flows(guess, is_open)
            assert plan.values is not None
            if len(self.open_columns(plan.values)):  # fixing these made others fractional
                plan = self.rounded_flows(guess)
            found.append(plan)
        # Of equally good plans, the later.
        return min(reversed(found), key=lambda plan: plan.objective or 0.0)

    def rounded(self, values: Float[Floats, " columns"], clock: Deadline) -> SolverResult:
        """Return the plan with all decisions of a solution rounded."""
        return self.rounded_flows(self._flows_of(values))

    def rounded_flows(self, futures: Sequence[Flows], only: Index | None = None) -> SolverResult:
        """Return relaxed plans, flows [h,...] of each future, with decisions rounded and fixed: all, or ``only`` these.

        Generators at half their minimum load or more are on.  Where that is infeasible (their power finds no use),
        those below their minimum load are off, and where that is infeasible too, all are off, which is feasible.
        """
        fixed = np.zeros(len(self.live.upper) + 1)
        pairs = list(zip(self.futures, futures, strict=True))
        for columns, flows in pairs:
            fixed[columns.charging] = flows.charge_mw > flows.discharge_mw
        if self.p.has_jobs:
            started = self.futures[0].flows.started  # the same columns in all
            fractions = np.where(self.may_start, futures[0].started, -1.0)
            fixed[started] = rounded_starts(self.p, fractions, self.state.committed_gpus)

        # From the likeliest choice of running generators to one that is certainly feasible.
        where = self.choices if only is None else only
        for share in (0.5, 1.0 - NOTHING):
            for columns, flows in pairs:
                fixed[columns.running] = flows.generation_mw >= share * self.p.generator_min_mw
            plan = self.fix(where, fixed[where])
            if plan is not None:
                return plan
        for columns in self.futures:
            fixed[columns.running] = 0.0
        with self.live.fixed(where, fixed[where]):
            return self.live.solve()

    def _flows_of(self, values: Float[Floats, " columns"]) -> list[Flows]:
        """Return the flows [h,...] of each future in a solution."""
        return [columns.flows_of(values) for columns in self.futures]


def now_and_later(started: Float[Floats, "h J K"]) -> list[Float[Floats, "h J K"]]:
    """Return fractions of starts to be rounded: as they are; where jobs start in part now, all those now, and later.

    Only the first step of a plan is carried out: that is the decision that must not hang on which fraction happens to
    be the largest.  "Later": in the proportions of the other steps; closed (-1) in the first one.
    """
    parts = (started[0] > NOTHING) & (started[0] < 1.0 - NOTHING)  # [J,K]
    if not parts.any():
        return [started]
    now, later = started.copy(), started.copy()
    now[0] += parts

    jobs = parts.any(1)
    rest = started[1:, jobs].sum((0, 2))
    whole = started[:, jobs].sum((0, 2))
    later[0, jobs] = -1.0
    later[1:, jobs] *= (whole / np.where(rest > NOTHING, rest, whole))[:, None]
    return [now, later]
