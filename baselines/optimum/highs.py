"""A Pyomo model as matrices, solved by HiGHS: bounds, gap, seeds, fixing of binaries, and who conflicts.

Going through the standard form instead of Pyomo's solver interface costs a third of the time and gives the dual
bound, basis and conflict analysis.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import highspy
import numpy as np
import pyomo.environ as pyo
from numpy.typing import NDArray
from pyomo.repn.plugins.standard_form import LinearStandardFormCompiler

from gridai_env.arrays.types import Floats

# Pure linear programs above this number of rows go to the interior point method, smaller ones to simplex.
LARGE_ROWS = 20_000
# Above this number of rows the interior point solution is used as it is (the bound is proven from its duals), and
# yes/no decisions are rounded from it before branch and bound is tried.
HUGE_ROWS = 60_000
INTERIOR_TOLERANCE = 1e-6
FEASIBILITY_TOLERANCE = 1e-9


class SolverError(RuntimeError):
    """HiGHS refused an option or stopped for a reason that leaves no result."""


class InfeasibleError(ValueError):
    """No flows satisfy all rows; the message names rows that conflict."""


@dataclass
class SolverResult:
    """What a solve came to, in the model's own (minimising) sense."""

    status: str  # "optimal", "time_limit" or "node_limit"
    objective: float | None  # of the incumbent
    bound: float  # proven: no solution is below
    values: Floats | None  # of the columns


class Deadline:
    """What is left of a time limit that several solves share."""

    def __init__(self, limit_s: float | None) -> None:
        """Start the clock; None: no limit."""
        self.limit_s, self.begin = limit_s, time.perf_counter()

    def left_s(self) -> float | None:
        """Seconds left, at least a tenth so that a solver can say what it has."""
        return None if self.limit_s is None else max(self.limit_s - (time.perf_counter() - self.begin), 0.1)

    def is_over(self) -> bool:
        """Whether nothing is left."""
        return self.limit_s is not None and time.perf_counter() - self.begin >= self.limit_s


class CompiledProgram:
    """One compiled model.  Column bounds and costs may be changed between solves."""

    def __init__(self, model: pyo.ConcreteModel) -> None:
        """Compile ``model`` (one linear objective, to be minimised)."""
        form = LinearStandardFormCompiler().write(model, mixed_form=True, set_sense=pyo.minimize)
        self.columns = form.columns
        self.rows = form.rows
        self.index = {id(variable): i for i, variable in enumerate(form.columns)}
        self.integer = np.array([v.is_integer() for v in form.columns], dtype=bool)
        infinity = highspy.kHighsInf
        lower = np.array([-infinity if v.lb is None else v.lb for v in form.columns])
        upper = np.array([infinity if v.ub is None else v.ub for v in form.columns])
        kind = np.array([kind for _, kind in form.rows])
        self.matrix = form.A.tocsc()
        self.lp = _highs_lp(form, lower, upper, kind)
        # How the model rounds a relaxed solution's yes/no columns; None: to the nearest integer.
        self.rounding: Callable[[CompiledProgram, Floats], Floats] | None = None
        self.size = (len(form.rows), len(form.columns))

    def set_upper(self, columns: NDArray[np.intp], upper: Floats) -> None:
        """New upper bounds of some columns, for the solves that follow."""
        bounds = np.array(self.lp.col_upper_)
        bounds[columns] = upper
        self.lp.col_upper_ = bounds

    def solve(
        self,
        *,
        mip_gap: float = 1e-4,
        time_limit_s: float | None = None,
        threads: int = 1,
        seed: int = 0,
        start: Floats | None = None,
        log: bool = False,
    ) -> SolverResult:
        """Solve with the integrality that the model declares."""
        if self.size[0] > HUGE_ROWS:
            return self._solve_huge(mip_gap, time_limit_s, threads, seed)
        solver = self._solver(time_limit_s, threads, seed, log)
        if self.integer.any():
            _set(solver, "mip_rel_gap", float(mip_gap))
            _set(solver, "mip_abs_gap", 0.0)
            if start is not None:
                solution = highspy.HighsSolution()
                solution.col_value = list(start)
                solver.setSolution(solution)
        elif self.size[0] > LARGE_ROWS:
            _set(solver, "solver", "ipm")
        return self._run(solver)

    def solve_fixed(
        self, values: Floats, *, time_limit_s: float | None = None, threads: int = 1, seed: int = 0
    ) -> SolverResult | None:
        """Round the integer columns of ``values``, fix them and solve the linear program that is left.

        Returns None where that program is infeasible (the incumbent met its rows only within tolerances) or takes
        too long.
        """
        solver = self._solver(time_limit_s, threads, seed, False)
        where = np.flatnonzero(self.integer).astype(np.int32)
        fixed = np.round(values[where])
        _continuous(solver, where)
        solver.changeColsBounds(len(where), where, fixed, fixed)
        if self.size[0] > HUGE_ROWS:
            _interior(solver)
        elif self.size[0] > LARGE_ROWS:
            _set(solver, "solver", "ipm")
        try:
            result = self._run(solver)
        except InfeasibleError:
            return None
        return result if result.values is not None else None

    def _solve_huge(
        self, mip_gap: float, time_limit_s: float | None, threads: int, seed: int
    ) -> SolverResult:
        """Relax, prove a bound from the duals, round, fix, solve again; branch only where that is not enough."""
        clock = Deadline(time_limit_s)
        solver = self._solver(clock.left_s(), threads, seed, False)
        where = np.flatnonzero(self.integer).astype(np.int32)
        if len(where):
            _continuous(solver, where)
        _interior(solver)
        relaxed = self._run(solver)
        bound = self.safe_bound(np.array(solver.getSolution().row_dual))
        if relaxed.values is None or not len(where):
            return SolverResult(relaxed.status, relaxed.objective, bound, relaxed.values)
        rounded = relaxed.values.copy()
        choose = np.round if self.rounding is None else partial(self.rounding, self)
        rounded[where] = choose(relaxed.values)[where]
        fixed = self.solve_fixed(rounded, time_limit_s=clock.left_s(), threads=threads, seed=seed)
        found = SolverResult("time_limit", None, bound, None)
        if fixed is not None and fixed.objective is not None:
            found = SolverResult("time_limit", fixed.objective, bound, fixed.values)
            if is_within(fixed.objective, bound, mip_gap):
                return SolverResult("optimal", fixed.objective, bound, fixed.values)
        return found if clock.is_over() else self._branch(found, mip_gap, clock, threads, seed)

    def _branch(
        self, found: SolverResult, mip_gap: float, clock: Deadline, threads: int, seed: int
    ) -> SolverResult:
        """Branch and bound from what relaxing and rounding found; never worse than that."""
        solver = self._solver(clock.left_s(), threads, seed, False)
        _set(solver, "mip_rel_gap", float(mip_gap))
        if found.values is not None:
            solution = highspy.HighsSolution()
            solution.col_value = list(found.values)
            solver.setSolution(solution)
        result = self._run(solver)
        better = found if result.objective is None else result
        if (
            found.objective is not None
            and result.objective is not None
            and found.objective < result.objective
        ):
            better = found
        return SolverResult(result.status, better.objective, max(found.bound, result.bound), better.values)

    def safe_bound(self, row_dual: Floats) -> float:
        """A bound that holds for any multipliers ``row_dual``, whatever the tolerances of the solver.

        Lagrangian bound of Neumaier and Shcherbina (2004): each row and each column at the end of its interval that
        is worst for the bound.  Needs finite bounds on columns, which the model states.
        """
        lower, upper = np.asarray(self.lp.row_lower_), np.asarray(self.lp.row_upper_)
        if len(row_dual) != self.size[0]:  # the solver stopped before it had any
            row_dual = np.zeros(self.size[0])
        y = np.where(row_dual > 0.0, np.where(np.isfinite(lower), row_dual, 0.0), row_dual)
        y = np.where((y < 0.0) & ~np.isfinite(upper), 0.0, y)
        rows = np.where(y > 0.0, y * np.where(y > 0.0, lower, 0.0), y * np.where(y < 0.0, upper, 0.0))
        reduced = np.asarray(self.lp.col_cost_) - self.matrix.T @ y
        ends = np.where(reduced > 0.0, np.asarray(self.lp.col_lower_), np.asarray(self.lp.col_upper_))
        columns = np.where(reduced == 0.0, 0.0, reduced * np.where(reduced == 0.0, 0.0, ends))
        return float(self.lp.offset_ + rows.sum() + columns.sum())

    def _solver(self, time_limit_s: float | None, threads: int, seed: int, log: bool) -> highspy.Highs:
        return _loaded(self.lp, time_limit_s, threads, seed, log)

    def _run(self, solver: highspy.Highs) -> SolverResult:
        try:
            result = _outcome(solver)
        except InfeasibleError as error:
            raise InfeasibleError(f"no feasible plan; rows that conflict: {self.conflict(solver)}") from error
        if result.status == "time_limit":
            result.bound = max(result.bound, self.safe_bound(np.zeros(0)))
        return result

    def conflict(self, solver: highspy.Highs) -> str:
        """Names of a small set of rows that cannot hold together (an irreducible infeasible subset)."""
        _set(solver, "iis_strategy", 26 if self.integer.any() else 2)
        _set(solver, "time_limit", solver.getRunTime() + 60.0)
        _, iis = solver.getIis()
        names = [self.rows[i][0].name for i in iis.row_index_]
        if not names:
            return "not found within a minute"
        shown = ", ".join(names[:10])
        return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")

    def is_integral(self, values: Floats) -> bool:
        """Whether the integer columns hold whole numbers exactly, so that fixing them would change nothing."""
        choices = values[self.integer]
        return bool(np.array_equal(choices, np.round(choices)))

    def columns_of(self, variables: NDArray[np.object_]) -> NDArray[np.intp]:
        """Column of each entry of an object array, -1 where it is a number or not in the model."""
        flat = [self.index.get(id(v), -1) for v in variables.ravel()]
        return np.array(flat, dtype=np.intp).reshape(variables.shape)


class PersistentSolver:
    """A program that stays in HiGHS: bounds, costs and coefficients change between solves, the basis stays.

    A solve that follows a small change starts where the one before ended (simplex), which is what makes sweeps and
    rolling horizons cheap.  Rows and columns are numbered as in the program it was made from.
    """

    def __init__(self, lp: CompiledProgram | highspy.HighsLp, *, threads: int = 1, seed: int = 0) -> None:
        """Load the program."""
        self.lp = lp.lp if isinstance(lp, CompiledProgram) else lp
        self.solver = _loaded(self.lp, None, threads, seed, False)
        self.is_mip = any(kind != highspy.HighsVarType.kContinuous for kind in self.lp.integrality_)

    def set_column_bounds(self, columns: Any, lower: Any, upper: Any) -> None:
        """New bounds of some columns."""
        where = np.asarray(columns, dtype=np.int32)
        self.solver.changeColsBounds(len(where), where, *_vectors(len(where), lower, upper))

    def set_row_bounds(self, rows: Any, lower: Any, upper: Any) -> None:
        """New sides of some rows."""
        where = np.asarray(rows, dtype=np.int32)
        rows_changed: Any = self.solver  # the stubs of highspy leave this function out
        rows_changed.changeRowsBounds(len(where), where, *_vectors(len(where), lower, upper))

    def set_costs(self, columns: Any, costs: Any) -> None:
        """New costs of some columns."""
        where = np.asarray(columns, dtype=np.int32)
        self.solver.changeColsCost(len(where), where, *_vectors(len(where), costs))

    def set_coefficients(self, rows: Any, columns: Any, values: Any) -> None:
        """New entries of the matrix, one for each pair of row and column."""
        for row, column, value in zip(rows, columns, values, strict=True):
            self.solver.changeCoeff(int(row), int(column), float(value))

    def set_integer(self, columns: Any, integer: bool) -> None:
        """Demand whole numbers of some columns, or no longer."""
        where = np.asarray(columns, dtype=np.int32)
        kind = highspy.HighsVarType.kInteger if integer else highspy.HighsVarType.kContinuous
        self.solver.changeColsIntegrality(len(where), where, np.full(len(where), kind.value, dtype=np.uint8))
        self.is_mip = any(
            kind != highspy.HighsVarType.kContinuous for kind in self.solver.getLp().integrality_
        )

    def use_interior_point(self) -> None:
        """Interior point in the solves that follow, each from the start: for programs too large for simplex.

        Crossover brings it to a corner, because presolve may spoil the duals of a solution that is none.
        """
        _interior(self.solver)
        _set(self.solver, "run_crossover", "on")

    def solve(
        self, *, time_limit_s: float | None = None, mip_gap: float = 1e-4, node_limit: int | None = None
    ) -> SolverResult:
        """Solve from where the last solve ended; raises InfeasibleError or SolverError as `CompiledProgram.solve` does.

        ``node_limit``: of branch and bound, at least 1 (the root); what it leaves does not depend on the machine.
        """
        highspy.Highs.resetGlobalScheduler(True)
        limit_s = (
            highspy.kHighsInf if time_limit_s is None else self.solver.getRunTime() + float(time_limit_s)
        )
        _set(self.solver, "time_limit", limit_s)
        if self.is_mip:
            _set(self.solver, "mip_rel_gap", float(mip_gap))
            _set(self.solver, "mip_abs_gap", 0.0)
            _set(self.solver, "mip_max_nodes", highspy.kHighsIInf if node_limit is None else int(node_limit))
        try:
            return _outcome(self.solver)
        except SolverError:  # a start from the basis before may end just outside of the tolerances
            self.solver.clearSolver()
            return _outcome(self.solver)

    @property
    def row_dual(self) -> Floats:
        """Dual of each row after the last solve of a linear program."""
        return np.array(self.solver.getSolution().row_dual)

    @property
    def column_dual(self) -> Floats:
        """Reduced cost of each column after the last solve of a linear program."""
        return np.array(self.solver.getSolution().col_dual)


def _vectors(length: int, *values: Any) -> list[Floats]:
    """Each value as a vector of ``length``."""
    return [np.ascontiguousarray(np.broadcast_to(np.asarray(v, dtype=float), (length,))) for v in values]


def _loaded(
    lp: highspy.HighsLp, time_limit_s: float | None, threads: int, seed: int, log: bool
) -> highspy.Highs:
    """A solver with the project's tolerances that holds ``lp``."""
    highspy.Highs.resetGlobalScheduler(True)  # the number of threads is process-wide otherwise
    solver = highspy.Highs()
    _set(solver, "output_flag", bool(log))
    _set(solver, "threads", int(threads))
    _set(solver, "random_seed", int(seed))
    _set(solver, "primal_feasibility_tolerance", FEASIBILITY_TOLERANCE)
    _set(solver, "dual_feasibility_tolerance", FEASIBILITY_TOLERANCE)
    _set(solver, "mip_feasibility_tolerance", FEASIBILITY_TOLERANCE)
    if time_limit_s is not None:
        _set(solver, "time_limit", float(time_limit_s))
    if solver.passModel(lp) == highspy.HighsStatus.kError:
        raise SolverError("HiGHS did not accept the model; look for infinite or NaN coefficients")
    return solver


def _outcome(solver: highspy.Highs) -> SolverResult:
    """Run a solver and read what it came to; raises InfeasibleError or SolverError."""
    solver.run()
    status, info = solver.getModelStatus(), solver.getInfo()
    if status in (highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible):
        raise InfeasibleError("no feasible plan")
    is_mip = any(kind != highspy.HighsVarType.kContinuous for kind in solver.getLp().integrality_)
    has_values = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    if status == highspy.HighsModelStatus.kOptimal and not has_values:
        raise SolverError(
            f"HiGHS found an optimum that misses its rows by {info.max_primal_infeasibility:.1e}, more than "
            f"{FEASIBILITY_TOLERANCE:.0e}"
        )
    values = np.array(solver.getSolution().col_value) if has_values else None
    objective = float(info.objective_function_value) if has_values else None
    if status == highspy.HighsModelStatus.kOptimal:
        bound = float(info.mip_dual_bound) if is_mip else float(info.objective_function_value)
        return SolverResult("optimal", objective, bound, values)
    if status == highspy.HighsModelStatus.kSolutionLimit:  # so HiGHS names its limit on nodes
        return SolverResult("node_limit", objective, float(info.mip_dual_bound), values)
    if status in (highspy.HighsModelStatus.kTimeLimit, highspy.HighsModelStatus.kInterrupt):
        bound = float(info.mip_dual_bound) if is_mip else -np.inf
        return SolverResult("time_limit", objective if is_mip else None, bound, values if is_mip else None)
    raise SolverError(f"HiGHS stopped with status {solver.modelStatusToString(status)}")


def is_within(objective: float, bound: float, gap: float) -> bool:
    """Whether the relative gap between an incumbent and a bound below it is small enough."""
    return objective - bound <= gap * abs(objective)


def _continuous(solver: highspy.Highs, where: NDArray[np.int32]) -> None:
    """Drop the integrality of the columns ``where``."""
    kinds = np.full(len(where), highspy.HighsVarType.kContinuous.value, dtype=np.uint8)
    solver.changeColsIntegrality(len(where), where, kinds)


def _interior(solver: highspy.Highs) -> None:
    """Interior point, to a tolerance that the proven bound makes honest; crossover only where it ends imprecise."""
    _set(solver, "solver", "hipo")
    _set(solver, "run_crossover", "choose")
    _set(solver, "ipm_optimality_tolerance", INTERIOR_TOLERANCE)
    _set(solver, "primal_feasibility_tolerance", 1e-7)
    _set(solver, "dual_feasibility_tolerance", 1e-7)


def _set(solver: highspy.Highs, option: str, value: Any) -> None:
    """Set an option and insist that it was taken: HiGHS goes on with its default otherwise."""
    if solver.setOptionValue(option, value) != highspy.HighsStatus.kOk:
        raise SolverError(f"HiGHS refused the option {option} = {value!r}")


def _highs_lp(form: Any, lower: Floats, upper: Floats, kind: NDArray[np.int_]) -> highspy.HighsLp:
    """The standard form as HiGHS wants it."""
    infinity = highspy.kHighsInf
    matrix = form.A.tocsc()
    lp = highspy.HighsLp()
    lp.num_row_, lp.num_col_ = matrix.shape
    lp.col_cost_ = np.asarray(form.c.todense(), dtype=float).ravel()
    lp.offset_ = float(form.c_offset[0])
    lp.col_lower_, lp.col_upper_ = lower, upper
    lp.row_lower_ = np.where(kind <= 0, form.rhs, -infinity)
    lp.row_upper_ = np.where(kind >= 0, form.rhs, infinity)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = matrix.indptr
    lp.a_matrix_.index_ = matrix.indices
    lp.a_matrix_.value_ = matrix.data
    integer = [v.is_integer() for v in form.columns]
    if any(integer):
        kinds = {True: highspy.HighsVarType.kInteger, False: highspy.HighsVarType.kContinuous}
        lp.integrality_ = [kinds[i] for i in integer]
    return lp
