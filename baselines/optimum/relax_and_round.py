"""Relax, round, fix, branch: one way to a plan with yes/no decisions and to what is proven about it.

1. Solve the program without its yes/no decisions: no plan is better than this relaxation.
2. Round the decisions, fix them, solve the linear program that is left.  Where that is within the gap of the
   relaxation nothing needs to branch.
3. Branch and bound on the decisions that are open; never worse than what rounding found.

`RelaxAndRound` is the strategy; `ProgramSolver` follows it for whole episodes, the windows of `baselines.mpc` for
theirs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from baselines.optimum import InfeasibleError
from baselines.optimum.by_windows import plan_by_windows
from baselines.optimum.highs import Deadline, Method, PersistentSolver, SolverResult, is_within
from baselines.optimum.proofs import proven_bound
from baselines.optimum.rounding import rounded_choices, with_choices
from baselines.program.linear import LinearProgram, Program
from gridai_env.arrays.types import Float, Floats, Index

# Programs above this number of rows go to the interior point method, smaller ones to simplex.  Measured: simplex takes
# half the time of the other for 24,000 and for 48,000 rows (one and two weeks of four_markets), more than twice its
# time for 90,000 (global); where between they are equal was not measured.  Of huge ones the interior solution is used
# as it is (the bound is proven from its duals), and decisions are rounded from it before branch and bound is tried.
HUGE_ROWS = 60_000
# Seconds that a plan may take to be made whole after the time limit: without them what was found would be lost.
GRACE_S = 5.0


class RelaxAndRound(ABC):
    """The strategy; subclasses say which decisions are open and how they are rounded."""

    # Whether branch and bound starts from the rounded plan: in huge programs it may find none of its own in time.
    hands_over_plan = False

    def __init__(self, live: PersistentSolver) -> None:
        """Search with the program loaded in ``live``, whose decisions are relaxed."""
        self.live = live

    @abstractmethod
    def open_columns(self, values: Float[Floats, " columns"]) -> Index:
        """Return the yes/no columns that a solution leaves undecided."""

    @abstractmethod
    def rounded(self, values: Float[Floats, " columns"], clock: Deadline) -> SolverResult | None:
        """Return the plan with all decisions of a solution rounded and fixed; None where that is no plan."""

    def rounded_first(self, relaxed: SolverResult, clock: Deadline, mip_gap: float) -> SolverResult | None:
        """Return what rounding makes of the relaxation, before anything branches."""
        assert relaxed.values is not None
        return self.rounded(relaxed.values, clock)

    def repaired(self, found: SolverResult, clock: Deadline) -> SolverResult:
        """Return what branch and bound found with its decisions exactly whole."""
        return found

    def whole_plan(
        self,
        relaxed: SolverResult,
        clock: Deadline,
        *,
        mip_gap: float,
        node_limit: int | None = None,
        round_first: bool = True,
    ) -> SolverResult:
        """Return the best plan within the limits and its bound; raise InfeasibleError where there is none.

        Status "optimal": within ``mip_gap`` of the bound; "rounded": no incumbent within the nodes.
        """
        rounded = self.rounded_first(relaxed, clock, mip_gap) if round_first else None
        if rounded is not None:
            assert rounded.objective is not None
            is_near = is_within(rounded.objective, relaxed.bound, mip_gap)
            status = "optimal" if is_near else "time_limit"
            rounded = replace(rounded, status=status, bound=relaxed.bound, is_safe=relaxed.is_safe)
            if is_near:
                return rounded
        try:
            found, is_open = self.branched(relaxed, rounded, clock, mip_gap, node_limit)
        except InfeasibleError:
            if rounded is None:
                raise
            # It meets its rows only within tolerances: a plan, of which the relaxed bound is proven.
            return rounded

        best = rounded
        if is_open and not round_first:
            assert found.values is not None
            best = self.rounded(found.values, clock)
        elif not is_open:
            best = self.repaired(found, clock)
            if rounded is not None:
                best = min(best, rounded, key=lambda plan: plan.objective or 0.0)
        bound, is_safe = better_bound(relaxed, found)
        if best is None:
            return SolverResult(found.status, None, bound, None, is_safe=is_safe)
        return replace(best, status=found.status, bound=bound, is_safe=is_safe)

    def branched(
        self,
        relaxed: SolverResult,
        rounded: SolverResult | None,
        clock: Deadline,
        mip_gap: float,
        node_limit: int | None,
    ) -> tuple[SolverResult, bool]:
        """Demand whole numbers until no decision is open; return the last solution and whether any is open still.

        Demanding only those that are open keeps the search small: a relaxation is whole in most of them.  Nodes and
        time are those of all rounds together.
        """
        chosen, result = np.zeros(0, dtype=np.intp), replace(relaxed, status="optimal")
        nodes_left = np.inf if node_limit is None else node_limit
        try:
            while True:
                assert result.values is not None
                more = np.setdiff1d(self.open_columns(result.values), chosen)
                if not len(more):
                    return result, False
                if nodes_left < 1 or clock.is_over():
                    return replace(result, status="rounded" if nodes_left < 1 else "time_limit"), True

                chosen = np.union1d(chosen, more)
                self.live.set_integer(more, True)
                if self.hands_over_plan and rounded is not None and rounded.values is not None:
                    self.live.start_from(rounded.values)
                found = self.live.solve(
                    time_limit_s=clock.left_s(),
                    mip_gap=mip_gap,
                    node_limit=None if node_limit is None else int(nodes_left),
                )
                if found.values is None:
                    status = "rounded" if found.status == "node_limit" else found.status
                    return replace(result, status=status, bound=max(result.bound, found.bound)), True
                nodes_left -= max(int(self.live.solver.getInfo().mip_node_count), 1)
                result = found
        finally:
            self.live.set_integer(chosen, False)

    def fix(
        self, columns: Index, values: Floats, time_limit_s: float | None = None, method: Method = "simplex"
    ) -> SolverResult | None:
        """Solve with some columns held at ``values``; None where that is infeasible or takes too long."""
        with self.live.fixed(columns, values):
            try:
                result = self.live.solve(time_limit_s=time_limit_s, method=method)
            except InfeasibleError:
                return None
        return None if result.values is None else result


class ProgramSolver(RelaxAndRound):
    """Solves the compiled program of an episode, which stays loaded: bounds and costs may change between solves.

    Small programs go to branch and bound at once; huge ones, and all with ``relax_first``, follow the strategy.
    """

    def __init__(
        self,
        program: Program,
        *,
        relax_first: bool = False,
        starts_warm: bool = False,
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        """Load ``program``.

        ``relax_first``: round before branching in programs of every size, and give duals with every plan.
        ``starts_warm``: linear programs start from the last basis instead of afresh.
        """
        self.options: dict[str, Any] = {"threads": threads, "seed": seed}
        live = PersistentSolver(program.lp, unit=program.unit, counts=program.counts, **self.options)
        super().__init__(live)
        self.program = program
        self.choices = np.flatnonzero(program.integer)

        self.relax_first, self.starts_warm = relax_first, starts_warm or relax_first
        self.is_huge = program.size[0] > HUGE_ROWS
        if relax_first or self.is_huge:
            self.live.set_integer(self.choices, False)
        self.relaxed_dual: Floats | None = None  # of the rows, after the last relaxation
        self.method: Method = "simplex"
        if self.is_huge:
            self.method, self.hands_over_plan = "interior", True

    def solve(
        self, *, mip_gap: float = 1e-4, time_limit_s: float | None = None, explain: bool = True
    ) -> SolverResult:
        """Solve within the limits.

        Raises InfeasibleError where there is no plan, naming rows that conflict where it may ``explain`` (it takes up
        to a minute).
        """
        clock = Deadline(time_limit_s)
        try:
            if len(self.choices) and not (self.relax_first or self.is_huge):
                return self._branch_at_once(clock, mip_gap)
            # Relaxed first: the strategy needs the program without its decisions.
            with self._relaxed_choices():
                relaxed = self._relaxed(clock)
                if relaxed.values is None or not len(self.choices):
                    return relaxed
                return self.whole_plan(relaxed, clock, mip_gap=mip_gap)
        except InfeasibleError as error:
            if not explain:
                raise
            raise InfeasibleError(f"no feasible plan; rows that conflict: {self.conflict()}") from error

    def solve_fixed(
        self, values: Float[Floats, " columns"], time_limit_s: float | None = None
    ) -> SolverResult | None:
        """Round the integer columns of ``values``, fix them and solve the linear program that is left.

        Returns None where that program is infeasible (the incumbent met its rows only within tolerances) or takes
        too long.
        """
        if not self.starts_warm:
            self.live.forget()
        with self._relaxed_choices():
            chosen = np.round(values[self.choices])
            found = self.fix(self.choices, chosen, time_limit_s=time_limit_s, method=self.method)
            return None if found is None else self._with_duals(found)

    def open_columns(self, values: Float[Floats, " columns"]) -> Index:
        """Return all yes/no columns: one branch and bound decides them together."""
        return self.choices

    def rounded(self, values: Float[Floats, " columns"], clock: Deadline) -> SolverResult | None:
        """Return the plan with the decisions of a solution rounded by `rounded_choices`."""
        return self.solve_fixed(rounded_choices(self.program, values), clock.left_s())

    def rounded_first(self, relaxed: SolverResult, clock: Deadline, mip_gap: float) -> SolverResult | None:
        """Return what rounding makes of the relaxation; of huge programs by windows first, which may be enough."""
        assert relaxed.values is not None
        found = []
        if self.is_huge and self.relaxed_dual is not None and self.program.is_by_steps:
            lp = with_choices(self.program, self.loaded(), relaxed.values)
            try:
                gap, duals = mip_gap / 100, self.relaxed_dual
                plan = plan_by_windows(self.program, lp, duals, clock, gap=gap, **self.options)
            except InfeasibleError:  # these decisions leave some window no way out
                plan = None
            if plan is not None:
                objective = float(lp.costs @ plan.values + lp.offset)
                found.append(SolverResult("optimal", objective, relaxed.bound, plan.values))
                if is_within(objective, relaxed.bound, mip_gap):
                    return found[0]
        whole = self.rounded(relaxed.values, clock)
        found += [] if whole is None else [whole]
        return min(found, key=lambda plan: plan.objective or 0.0, default=None)

    def repaired(self, found: SolverResult, clock: Deadline) -> SolverResult:
        """Return the plan with the decisions of an incumbent made exactly whole, where that is feasible."""
        assert found.values is not None
        if self.program.is_integral(found.values) and not self.relax_first:
            return found
        left_s = clock.left_s()
        fixed = self.solve_fixed(found.values, None if left_s is None else max(left_s, GRACE_S))
        return found if fixed is None else replace(fixed, status=found.status, bound=found.bound)

    def _branch_at_once(self, clock: Deadline, mip_gap: float) -> SolverResult:
        self.live.forget()  # what branch and bound finds must not depend on the solve before
        found = self.live.solve(time_limit_s=clock.left_s(), mip_gap=mip_gap)
        if found.status == "time_limit" and self.safe_bound() > found.bound:
            found = replace(found, bound=self.safe_bound(), is_safe=True)
        return found if found.values is None else self.repaired(found, clock)

    def _relaxed(self, clock: Deadline) -> SolverResult:
        """Return the optimum without yes/no decisions, with a bound that its tolerances cannot spoil."""
        if not self.starts_warm:
            self.live.forget()
        result = self.live.solve(time_limit_s=clock.left_s(), method=self.method)
        is_priced = self.is_huge or result.status == "optimal"
        self.relaxed_dual = self.live.row_dual if is_priced else None
        return self._with_duals(replace(result, bound=self.safe_bound(self.relaxed_dual), is_safe=True))

    def _with_duals(self, result: SolverResult) -> SolverResult:
        """Attach the duals of a linear program; those of an interior solution are not exact enough to be prices."""
        if self.relax_first and not self.is_huge and result.values is not None:
            result.row_dual = self.live.row_dual
        return result

    @contextmanager
    def _relaxed_choices(self) -> Iterator[None]:
        """Demand no whole numbers inside the block."""
        integer = np.flatnonzero(self.live.integer)
        self.live.set_integer(integer, False)
        try:
            yield
        finally:
            self.live.set_integer(integer, True)

    # Proofs -----------------------------------------------------------------------------------------------------

    def safe_bound(self, row_dual: Float[Floats, " rows"] | None = None) -> float:
        """Return `proven_bound` of the program as it is loaded."""
        return proven_bound(self.loaded(), row_dual)

    def loaded(self) -> LinearProgram:
        """Return the program with its costs, bounds and sides as they are now."""
        live = self.live
        return replace(
            self.program.lp,
            costs=live.costs,
            lower=live.lower,
            upper=live.upper,
            row_lower=live.row_lower,
            row_upper=live.row_upper,
        )

    def conflict(self) -> str:
        """Return names of a small set of rows that cannot hold together (an irreducible infeasible subset)."""
        solver = self.live.solver
        self.live.set_option("iis_strategy", 26 if len(self.choices) else 2)
        self.live.set_option("time_limit", solver.getRunTime() + 60.0)
        _, iis = solver.getIis()
        names = [self.program.name_of(row) for row in iis.row_index_]
        if not names:
            return "not found within a minute"
        shown = ", ".join(names[:10])
        return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def better_bound(relaxed: SolverResult, found: SolverResult) -> tuple[float, bool]:
    """Return the higher bound and whether it is safe; a safe one that agrees to 1e-9 goes before one that is not."""
    is_safe = relaxed.is_safe and found.bound - relaxed.bound <= 1e-9 * abs(found.bound)
    return relaxed.bound if is_safe else max(relaxed.bound, found.bound), is_safe
