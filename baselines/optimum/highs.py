"""A linear or mixed-integer program that stays in HiGHS: bounds, costs and coefficients change between solves.

HiGHS is called directly, not through Pyomo: that costs a third of the time and gives bounds, basis and duals.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import highspy
import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from baselines.optimum import InfeasibleError, SolverError
from baselines.program.linear import LinearProgram
from gridai_env.arrays.types import Bools, Float, Floats, Index

INTERIOR_TOLERANCE = 1e-6
FEASIBILITY_TOLERANCE = 1e-9

# How linear programs are solved.  "simplex" starts where the solve before ended; the others start afresh.
# "interior" is for programs too large for simplex: its tolerance is made honest by a bound that is proven apart, and
# crossover runs only where it ends imprecise.  "interior_vertex" always crosses over, because presolve may spoil the
# duals of a solution that is no vertex.
Method = Literal["simplex", "interior", "interior_vertex"]
_SIMPLEX: dict[str, Any] = {
    "solver": "choose",
    "run_crossover": "on",
    "ipm_optimality_tolerance": 1e-8,
    "primal_feasibility_tolerance": FEASIBILITY_TOLERANCE,
    "dual_feasibility_tolerance": FEASIBILITY_TOLERANCE,
}
_INTERIOR: dict[str, Any] = {
    "solver": "ipx",
    "run_crossover": "choose",
    "ipm_optimality_tolerance": INTERIOR_TOLERANCE,
    "primal_feasibility_tolerance": 1e-7,
    "dual_feasibility_tolerance": 1e-7,
}
METHODS: dict[Method, dict[str, Any]] = {
    "simplex": _SIMPLEX,
    "interior": _INTERIOR,
    "interior_vertex": _INTERIOR | {"run_crossover": "on"},
}


@dataclass
class SolverResult:
    """Outcome of a solve, in the program's own (minimising) sense."""

    status: str  # "optimal", "time_limit" or "node_limit"
    objective: float | None  # of the incumbent
    bound: float  # no solution is below
    values: Float[Floats, " columns"] | None
    # Of the linear program that the values are from, where known.
    row_dual: Float[Floats, " rows"] | None = None
    is_safe: bool = False  # whether the bound is proven in exact numbers, else to the solver's tolerances


class Deadline:
    """Time limit shared by several solves."""

    def __init__(self, limit_s: float | None) -> None:
        """Start the clock; None: no limit."""
        self.limit_s, self.begin = limit_s, time.perf_counter()

    def left_s(self) -> float | None:
        """Return the seconds left (None: no limit), at least 0.1 so that a solver can report its incumbent."""
        return None if self.limit_s is None else max(self.limit_s - (time.perf_counter() - self.begin), 0.1)

    def is_over(self) -> bool:
        """Return whether no time is left."""
        return self.limit_s is not None and time.perf_counter() - self.begin >= self.limit_s


def is_within(objective: float, bound: float, gap: float) -> bool:
    """Return whether the gap of an incumbent to a bound below it, relative to the incumbent, is at most ``gap``."""
    return objective - bound <= gap * abs(objective)


# Rows whose coefficients add up to more than this are divided by a power of two, at most by the second number: where a
# row adds up an episode, what double precision rounds away is more than the tolerance.
ROW_SUM, ROW_UNIT = 64.0, 1024.0


class PersistentSolver:
    """A program loaded in HiGHS.

    A solve that follows a small change starts from the last basis (simplex), which makes sweeps and rolling horizons
    cheap.  Rows and columns are numbered as in the program it was made from.

    The tolerances of HiGHS are absolute, so the program is loaded in units of its own size: the objective over
    ``unit``, columns over ``column_unit``, rows over ``row_unit``, all of them powers of two, which round nothing.
    What goes in and out here is in the program's own units.
    """

    def __init__(
        self,
        lp: LinearProgram,
        *,
        unit: float = 1.0,
        counts: Bools | None = None,
        threads: int = 1,
        seed: int = 0,
        log: bool = False,
    ) -> None:
        """Load the program; raises SolverError where HiGHS refuses it.

        ``unit``, a power of two, of amounts: of all columns but ``counts`` [columns] (None: the integer ones).
        """
        highspy.Highs.resetGlobalScheduler(True)  # the number of threads is process-wide otherwise
        self.solver = highspy.Highs()
        self.set_option("output_flag", bool(log))
        self.set_option("threads", int(threads))
        self.set_option("random_seed", int(seed))
        self.set_option("mip_feasibility_tolerance", FEASIBILITY_TOLERANCE)
        self._set_all(METHODS["simplex"])
        # Kept beside HiGHS, which copies the whole program to return any part of it.
        self.lower, self.upper = lp.lower.copy(), lp.upper.copy()
        self.row_lower, self.row_upper = lp.row_lower.copy(), lp.row_upper.copy()
        self.costs, self.offset, self.integer = lp.costs.copy(), lp.offset, lp.integer.copy()

        amounts = ~(self.integer if counts is None else counts)
        self.unit, self.column_unit = unit, np.where(amounts, unit, 1.0)
        self.row_unit = _row_units(lp.matrix, amounts, unit)
        if self.solver.passModel(self._in_units(lp.matrix.copy())) == highspy.HighsStatus.kError:
            raise SolverError("HiGHS did not accept the model; look for infinite or NaN coefficients")

    def _in_units(self, matrix: sparse.csc_matrix) -> highspy.HighsLp:
        """Return the program as HiGHS gets it."""
        out = highspy.HighsLp()
        matrix.data *= np.repeat(self.column_unit, np.diff(matrix.indptr)) / self.row_unit[matrix.indices]
        out.num_row_, out.num_col_ = matrix.shape
        out.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        out.a_matrix_.start_, out.a_matrix_.index_ = matrix.indptr, matrix.indices
        out.a_matrix_.value_ = matrix.data
        out.col_cost_, out.offset_ = self.costs * self.column_unit / self.unit, self.offset / self.unit
        out.col_lower_, out.col_upper_ = self.lower / self.column_unit, self.upper / self.column_unit
        out.row_lower_, out.row_upper_ = self.row_lower / self.row_unit, self.row_upper / self.row_unit
        if self.is_mip:
            kinds = {True: highspy.HighsVarType.kInteger, False: highspy.HighsVarType.kContinuous}
            out.integrality_ = [kinds[is_whole] for is_whole in self.integer.tolist()]
        return out

    @property
    def is_mip(self) -> bool:
        """Whether any column must be a whole number."""
        return bool(self.integer.any())

    # Changes ----------------------------------------------------------------------------------------------------

    def set_column_bounds(self, columns: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> None:
        """Change the bounds of some columns."""
        where = np.asarray(columns, dtype=np.int32)
        self.lower[where], self.upper[where] = lower, upper
        unit = self.column_unit[where]
        self.solver.changeColsBounds(len(where), where, self.lower[where] / unit, self.upper[where] / unit)

    def set_row_bounds(self, rows: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> None:
        """Change the sides of some rows."""
        where = np.asarray(rows, dtype=np.int32)
        self.row_lower[where], self.row_upper[where] = lower, upper
        ends = (self.row_lower[where] / self.row_unit[where], self.row_upper[where] / self.row_unit[where])
        rows_changed: Any = self.solver  # the stubs of highspy leave this function out
        rows_changed.changeRowsBounds(len(where), where, *ends)

    def set_costs(self, columns: ArrayLike, costs: ArrayLike) -> None:
        """Change the costs of some columns."""
        where = np.asarray(columns, dtype=np.int32)
        self.costs[where] = costs
        scaled = self.costs[where] * self.column_unit[where] / self.unit
        self.solver.changeColsCost(len(where), where, scaled)

    def set_coefficients(self, rows: Index, columns: Index, values: Floats) -> None:
        """Change entries of the matrix, one for each pair of row and column."""
        scaled = values * self.column_unit[columns] / self.row_unit[rows]
        for row, column, value in zip(rows.tolist(), columns.tolist(), scaled.tolist(), strict=True):
            self.solver.changeCoeff(row, column, value)

    def set_integer(self, columns: ArrayLike, integer: bool) -> None:
        """Demand whole numbers of some columns, or no longer."""
        where = np.asarray(columns, dtype=np.int32)
        if not len(where):
            return
        self.integer[where] = integer
        kind = highspy.HighsVarType.kInteger if integer else highspy.HighsVarType.kContinuous
        self.solver.changeColsIntegrality(len(where), where, np.full(len(where), kind.value, dtype=np.uint8))

    @contextmanager
    def fixed(self, columns: Index, values: ArrayLike) -> Iterator[None]:
        """Hold some columns at ``values`` inside the block; their bounds return however it ends."""
        lower, upper = self.lower[columns], self.upper[columns]
        self.set_column_bounds(columns, values, values)
        try:
            yield
        finally:
            self.set_column_bounds(columns, lower, upper)

    def start_from(self, values: Floats) -> None:
        """Give branch and bound an incumbent to start from."""
        solution = highspy.HighsSolution()
        solution.col_value = list(values / self.column_unit)
        self.solver.setSolution(solution)

    def forget(self) -> None:
        """Drop basis and solution, so that the next solve starts from scratch."""
        self.solver.clearSolver()

    # Solving ----------------------------------------------------------------------------------------------------

    def solve(
        self,
        *,
        time_limit_s: float | None = None,
        mip_gap: float = 1e-4,
        node_limit: int | None = None,
        method: Method = "simplex",
    ) -> SolverResult:
        """Solve from where the last solve ended; raise InfeasibleError or SolverError where there is no result.

        ``node_limit``: of branch and bound, at least 1 (the root); what it leaves does not depend on the machine.
        """
        highspy.Highs.resetGlobalScheduler(True)
        self._set_all(METHODS[method])
        if method != "simplex":
            self.forget()
        limit_s = (
            highspy.kHighsInf if time_limit_s is None else self.solver.getRunTime() + float(time_limit_s)
        )
        self.set_option("time_limit", limit_s)
        if self.is_mip:
            self.set_option("mip_rel_gap", float(mip_gap))
            self.set_option("mip_abs_gap", 0.0)
            self.set_option("mip_max_nodes", highspy.kHighsIInf if node_limit is None else int(node_limit))

        try:
            return self.outcome()
        except SolverError:
            # A start from the basis before may end just outside of the tolerances, interior points may not converge.
            self.forget()
            self._set_all(METHODS["simplex"])
            return self.outcome()

    def outcome(self) -> SolverResult:
        """Run HiGHS as it is set and return its result; raise InfeasibleError or SolverError without one."""
        self.solver.run()
        status, info = self.solver.getModelStatus(), self.solver.getInfo()
        if status in (highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible):
            raise InfeasibleError("no feasible plan")

        has_values = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
        is_optimal = status == highspy.HighsModelStatus.kOptimal
        if is_optimal and not has_values:
            raise SolverError(
                f"HiGHS found an optimum that misses its rows by {info.max_primal_infeasibility:.1e}, more than "
                f"{FEASIBILITY_TOLERANCE:.0e}; please report it with scenario and seed"
            )

        values = np.array(self.solver.getSolution().col_value) * self.column_unit if has_values else None
        reached = self.unit * float(info.objective_function_value)
        objective, bound = reached if has_values else None, reached if is_optimal else -np.inf
        if self.is_mip:
            bound = self.unit * float(info.mip_dual_bound)

        if is_optimal:
            return SolverResult("optimal", objective, bound, values)
        if status == highspy.HighsModelStatus.kSolutionLimit:  # so HiGHS names its limit on nodes
            return SolverResult("node_limit", objective, bound, values)
        if status in (highspy.HighsModelStatus.kTimeLimit, highspy.HighsModelStatus.kInterrupt):
            # A linear program that was cut off has neither a feasible solution nor a bound of use.
            found = (objective, bound, values) if self.is_mip else (None, bound, None)
            return SolverResult("time_limit", *found)
        raise SolverError(
            f"HiGHS stopped with status {self.solver.modelStatusToString(status)!r} and left no result; "
            "please report it with scenario and seed"
        )

    @property
    def row_dual(self) -> Float[Floats, " rows"]:
        """Dual of each row after the last solve of a linear program."""
        return np.array(self.solver.getSolution().row_dual) * (self.unit / self.row_unit)

    @property
    def column_dual(self) -> Float[Floats, " columns"]:
        """Reduced cost of each column after the last solve of a linear program."""
        return np.array(self.solver.getSolution().col_dual) * (self.unit / self.column_unit)

    def _set_all(self, options: dict[str, Any]) -> None:
        for option, value in options.items():
            self.set_option(option, value)

    def set_option(self, option: str, value: Any) -> None:
        """Set an option; raise SolverError where HiGHS refuses it: it would go on with its default."""
        if self.solver.setOptionValue(option, value) != highspy.HighsStatus.kOk:
            raise SolverError(f"HiGHS refused the option {option} = {value!r}")


def _row_units(matrix: sparse.csc_matrix, amounts: Bools, unit: float) -> Float[Floats, " rows"]:
    """Return the unit of each row: that of amounts where it has any, larger where it adds up many."""
    sums = abs(matrix) @ amounts.astype(float)
    longer = np.clip(2.0 ** np.ceil(np.log2(np.maximum(sums, 1.0) / ROW_SUM)), 1.0, ROW_UNIT)
    return np.where(sums > 0.0, unit * longer, 1.0)
