"""A window of the program that stays loaded: numbers change from decision to decision, the model does not.

    model = RollingModel(instance.params, instance.compiled.shape, horizon_steps=24)
    decision = model.decide(instance.params, foreseen, state, last=False)

Windows that the end of the episode cuts short use the same model: later steps are closed by their bounds.

The relaxed program is solved first, from the basis of the window before, moved by one step.  Yes/no decisions (jobs,
minimum loads, charging with discharging) are demanded only where the relaxed plan leaves them open, and the program
is solved again until none is: what is left relaxed is whole already, so the plan is optimal to the gap.

Large windows (`Options.large_rows`) go another way to a plan of the same gap, because there both steps are slow:

- The relaxed program is solved from scratch.  Where most prices and arrivals have changed, the basis of the window
  before spares few iterations, but it keeps HiGHS from presolving and from scaling the changed coefficients anew.
- Open decisions are rounded and fixed first, a job that the relaxed plan starts in part now both ways: now, and
  later.  The relaxed program bounds every plan, so the better one needs no branching where it is within the gap.
- Moving sessions and warming up are billed in the first `Options.friction_steps` steps only.  These rows are most of
  the program; the last ones say what the first step hardly depends on.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

import highspy
import numpy as np
from numpy.typing import NDArray

from baselines.mpc.sparsity import TOLERANCE, Sides, Structure, loaded_lp, structure_of
from baselines.mpc.terminal_value import Ending, ending_costs
from baselines.mpc.window import Columns, expressions, make_columns
from baselines.optimum.flow_bounds import flow_ceilings
from baselines.optimum.highs import (
    Deadline,
    InfeasibleError,
    PersistentSolver,
    SolverError,
    SolverResult,
    is_within,
)
from baselines.optimum.rounding import rounded_starts
from gridai_env.arrays.types import Floats, Index
from gridai_env.world.state import Exogenous, Flows, Params, Shape, State

# A flow below this share of its limit is none: what a solver leaves behind.
NOTHING = 1e-6
# Blocks of rows that say what moving and warming up comes to.
FRICTION = ("relocated", "warmed")


@dataclass(frozen=True)
class Options:
    """How a window is solved."""

    mip_gap: float = 1e-3  # of windows with yes/no decisions that their relaxation leaves open
    # Limits for those decisions; then the incumbent, else the rounded relaxation, is used.  What the first one cuts
    # off is the same on every machine; the second one is only there so that no decision takes for ever.
    node_limit: int = 10  # of branch and bound; 0: rounds at once
    time_limit_s: float = 60.0
    # Windows with more rows than this are large (see above).  A day of ten sites has 7,000 to 16,000, one of three or
    # four sites up to 3,000.
    large_rows: int = 5_000
    friction_steps: int = 12  # in which large windows bill friction; 3 to 4 times as fast as with all 24
    ending: Ending = field(default_factory=Ending)
    threads: int = 1
    seed: int = 0


@dataclass(frozen=True)
class WindowDecision:
    """What a window came to."""

    flows: Flows  # [n,...] of all its steps
    objective_usd: float  # benefit of the window, end values included; of large ones less the friction billed
    # "optimal" (to the gap), "node_limit" (an incumbent) or "rounded" (no whole incumbent within the nodes), all of
    # them the same on every machine; "time_limit" (either of the two, as the clock had it)
    status: str
    whole: bool  # whether all yes/no decisions of the relaxed plan were whole already

    @property
    def first(self) -> Flows:
        """Flows of the first step."""
        return self.flows.map(lambda x: x[0])


class RollingModel:
    """The program of a window of at most ``horizon_steps``, solved again and again."""

    def __init__(self, p: Params, shape: Shape, horizon_steps: int, options: Options | None = None) -> None:
        """Lay out the columns; the first decision loads the rest.  ``p``: the constants of the scenario."""
        if horizon_steps < 1:
            raise ValueError(f"horizon_steps = {horizon_steps}: must be at least 1")
        self.steps, self.options = horizon_steps, options or Options()
        self.columns: Columns = make_columns(p, shape, horizon_steps)
        self._structure: Structure | None = None
        self._live: PersistentSolver | None = None
        self._basis: highspy.HighsBasis | None = None
        self._pushed: Floats = np.zeros(0)

    @property
    def structure(self) -> Structure:
        """Which columns stand in which rows; raises RuntimeError before the first decision."""
        if self._structure is None:
            raise RuntimeError("nothing is loaded before the first decision")
        return self._structure

    # One decision ---------------------------------------------------------------------------------------------

    def decide(
        self, p: Params, exo: Exogenous, state: State, last: bool, later: NDArray[np.bool_] | None = None
    ) -> WindowDecision:
        """The best plan of a window.

        ``p`` the constants with the jobs and last-resort prices; ``exo`` [n,...] the window as foreseen, n at most
        ``horizon_steps``; ``state`` before it; ``last``: whether it ends with the episode; ``later`` [J] jobs that
        may still be started after it.  Raises InfeasibleError where no plan exists, SolverError where HiGHS fails.
        """
        n = len(exo.arrivals_gpuh)
        if not 1 <= n <= self.steps:
            raise ValueError(f"the window has {n} steps, the model 1 to {self.steps}")
        sides = self._read(p, _padded(exo, self.steps))
        bounds = self._bounds(p, _padded(exo, self.steps), state, sides, n)
        costs = sides.costs.copy()
        if not last:
            costs += ending_costs(p, exo, self.columns, n, later, self.options.ending)
        self._push(sides, bounds, costs, n)
        result, status, whole = self._solve(p, bounds, state)
        assert result.values is not None and result.objective is not None
        values = np.append(result.values, 0.0)  # index -1: always 0
        flows = self.columns.flows.map(lambda index: values[index[:n]])
        return WindowDecision(flows, -result.objective - float(sides.cost_constants[:n].sum()), status, whole)

    def _read(self, p: Params, exo: Exogenous) -> Sides:
        found = expressions(p, self.columns, exo)
        if self._structure is None:
            self._structure = structure_of(found, self.columns.count)
            self._next_column, self._next_row = self.columns.next_step(), self._structure.next_step()
        return self._structure.read(found)

    # Bounds ---------------------------------------------------------------------------------------------------

    def _bounds(self, p: Params, exo: Exogenous, state: State, sides: Sides, n: int) -> tuple[Floats, Floats]:
        """Bounds of the columns: ceilings of flows, rows of a single column, the state at hand, closed steps."""
        lower, upper = np.zeros(self.columns.count), np.full(self.columns.count, np.inf)
        carried = np.concatenate([state.backlog_gpuh[None], exo.queue_limit_gpuh[:-1]])
        ceilings = flow_ceilings(p, exo, carried) | {"started": exo.job_open}
        for name, most in ceilings.items():
            index = getattr(self.columns.flows, name)
            upper[index[index >= 0]] = most[index >= 0]
        for index in (self.columns.charging, self.columns.running):
            upper[index[index >= 0]] = 1.0
        self._single_rows(sides, lower, upper)
        late = self.columns.step >= n
        lower[late] = upper[late] = 0.0
        for name in State.names():
            index = getattr(self.columns.state, name)[0]
            known = getattr(state, name)[index >= 0] if index.ndim else getattr(state, name)
            lower[index[index >= 0]] = upper[index[index >= 0]] = known
        self._check_bounds(lower, upper)
        return np.minimum(lower, upper), upper

    def _check_bounds(self, lower: Floats, upper: Floats) -> None:
        """Raise InfeasibleError where bounds contradict each other by more than rounding."""
        apart = lower - upper > TOLERANCE * np.maximum(1.0, np.abs(upper))
        if apart.any():
            column = int(apart.argmax())
            rows = ", ".join(self.structure.single_rows_of(column)) or "the ceiling of a flow"
            raise InfeasibleError(
                f"the window contradicts itself: {rows}: at least {lower[column]:g} and at most {upper[column]:g}"
            )

    def _single_rows(self, sides: Sides, lower: Floats, upper: Floats) -> None:
        """Narrow bounds by the rows ``value * x + constant >= 0`` (or ``== 0``)."""
        s = self.structure
        value, row, column = sides.coefficients[s.single], s.row[s.single], s.column[s.single]
        end = -sides.constants[row] / np.where(value == 0.0, 1.0, value)
        equal = s.is_equality[row]
        floor, ceiling = (value > 0.0) | (equal & (value != 0.0)), (value < 0.0) | (equal & (value != 0.0))
        np.maximum.at(lower, column[floor], end[floor])
        np.minimum.at(upper, column[ceiling], end[ceiling])

    # HiGHS ----------------------------------------------------------------------------------------------------

    def _push(self, sides: Sides, bounds: tuple[Floats, Floats], costs: Floats, n: int) -> None:
        """Bring the numbers of this window into the loaded model."""
        s = self.structure
        closed = (s.step >= (np.where(s.of_block(*FRICTION), min(n, self._billed), n)))[s.kept]
        right = -sides.constants[s.kept]
        row_lower = np.where(closed, -highspy.kHighsInf, right)
        row_upper = np.where(closed | ~s.is_equality[s.kept], highspy.kHighsInf, right)
        coefficients = sides.coefficients[s.many]
        if self._live is None:
            lp = loaded_lp(s, coefficients, costs, bounds, (row_lower, row_upper))
            self._live = PersistentSolver(lp, threads=self.options.threads, seed=self.options.seed)
            self._program_row = np.searchsorted(s.kept, s.row[s.many])
        else:
            changed = np.flatnonzero(coefficients != self._pushed)
            where = s.many[changed]
            self._live.set_coefficients(self._program_row[changed], s.column[where], coefficients[changed])
            every = np.arange(self.columns.count)
            self._live.set_column_bounds(every, *bounds)
            self._live.set_costs(every, costs)
            self._live.set_row_bounds(np.arange(len(s.kept)), row_lower, row_upper)
        self._pushed = coefficients

    def _solve(
        self, p: Params, bounds: tuple[Floats, Floats], state: State
    ) -> tuple[SolverResult, str, bool]:
        """The relaxed window; where it leaves a yes/no decision open that matters, again with that one whole."""
        live = self._live
        assert live is not None
        relaxed = self._relaxed(live)
        fixed = self._rounded_first(p, live, relaxed, bounds, state) if self.is_large else None
        if fixed is not None and _meets(fixed, relaxed, self.options.mip_gap):
            return fixed, "optimal", False
        result, status, is_open = self._branched(p, live, relaxed)
        if is_open:
            assert result.values is not None
            result = fixed or self._rounded(p, live, self._of(result), bounds, state)
        elif fixed is not None and status != "optimal" and _meets(fixed, result, 0.0):
            result = fixed
        return result, status, result is relaxed

    @property
    def is_large(self) -> bool:
        """Whether the window has more rows than `Options.large_rows`."""
        return len(self.structure.kept) > self.options.large_rows

    @property
    def _billed(self) -> int:
        """Steps of the window in which friction is billed."""
        return self.options.friction_steps if self.is_large else self.steps

    def _rounded_first(
        self,
        p: Params,
        live: PersistentSolver,
        relaxed: SolverResult,
        bounds: tuple[Floats, Floats],
        state: State,
    ) -> SolverResult | None:
        """The best of the rounded plans; None where the relaxed one leaves nothing open."""
        assert relaxed.values is not None
        is_open = self._undecided(p, relaxed.values)
        if not len(is_open):
            return None
        flows, best = self._of(relaxed), None
        for started in now_and_later(flows.started):
            guess = flows.replace(started=started)
            found = self._rounded(p, live, guess, bounds, state, is_open)
            assert found.values is not None and found.objective is not None
            if len(self._undecided(p, found.values)):  # fixing these opened others
                found = self._rounded(p, live, guess, bounds, state)
            if best is None or _meets(found, best, 0.0):
                best = found
        return best

    def _branched(
        self, p: Params, live: PersistentSolver, result: SolverResult
    ) -> tuple[SolverResult, str, bool]:
        """Demand whole numbers until no decision is open, within the limits: last plan, status, whether any is open.

        Nodes and time are those of all rounds together.
        """
        chosen, status = np.zeros(0, dtype=np.intp), "optimal"
        clock, nodes_left = Deadline(self.options.time_limit_s), self.options.node_limit
        try:
            while True:
                assert result.values is not None
                more = np.setdiff1d(self._undecided(p, result.values), chosen)
                if not len(more):
                    return result, status, False
                if nodes_left < 1 or clock.is_over():
                    return result, "rounded" if nodes_left < 1 else "time_limit", True
                chosen = np.union1d(chosen, more)
                live.set_integer(more, True)
                found = live.solve(
                    time_limit_s=clock.left_s(), mip_gap=self.options.mip_gap, node_limit=nodes_left
                )
                if found.values is None:
                    return result, "rounded" if found.status == "node_limit" else found.status, True
                nodes_left -= max(int(live.solver.getInfo().mip_node_count), 1)
                result, status = found, found.status
        finally:
            live.set_integer(chosen, False)

    def _relaxed(self, live: PersistentSolver) -> SolverResult:
        """The window without yes/no decisions, from where the last one ended, or from scratch where it is large."""
        if self.is_large:
            live.solver.clearSolver()
            return live.solve()
        if self._basis is not None:
            live.solver.setBasis(self._later(self._basis))
        try:
            result = live.solve()
        except (InfeasibleError, SolverError):
            # A basis of other numbers can lead simplex astray: from scratch it has the last word.
            live.solver.clearSolver()
            result = live.solve()
        self._basis = live.solver.getBasis()
        return result

    def _later(self, basis: highspy.HighsBasis) -> highspy.HighsBasis:
        """The basis one step later: the plan of the window before, of which one step is done."""
        out = highspy.HighsBasis()
        out.valid = out.alien = True  # alien: HiGHS completes what the new last step lacks
        column_status, row_status = list(basis.col_status), list(basis.row_status)
        out.col_status = [column_status[i] for i in self._next_column]
        out.row_status = [row_status[i] for i in self._next_row]
        return out

    def _undecided(self, p: Params, values: Floats) -> Index:
        """Yes/no columns whose relaxed decision is none: charging with discharging, running below the minimum load,
        jobs started in part."""
        flows = self._flows(values)
        burns = np.minimum(flows.charge_mw, flows.discharge_mw) > NOTHING * p.charge_limit_mw
        slow = (flows.generation_mw > NOTHING * p.generator_min_mw) & (
            flows.generation_mw < (1.0 - NOTHING) * p.generator_min_mw
        )
        parts = np.abs(flows.started - np.round(flows.started)) > NOTHING
        split = np.broadcast_to(parts.any((0, 2))[:, None], parts.shape)
        found = [self.columns.charging[burns], self.columns.running[slow], self.columns.flows.started[split]]
        together = np.concatenate(found)
        return together[together >= 0]

    def _rounded(
        self,
        p: Params,
        live: PersistentSolver,
        flows: Flows,
        bounds: tuple[Floats, Floats],
        state: State,
        only: Index | None = None,
    ) -> SolverResult:
        """The relaxed plan ``flows`` [h,...] with its yes/no decisions rounded and fixed: all, or ``only`` these.

        A generator is run from half its minimum load on.  Where that is more than anybody can use, those below their
        minimum load are off, then all (rounding may also take the load away that another one had): nobody has to
        make power, so that is a plan.
        """
        lower, upper = (np.append(b, 0.0) for b in bounds)
        fixed = np.zeros(self.columns.count + 1)
        fixed[self.columns.charging] = flows.charge_mw > flows.discharge_mw
        if p.has_jobs:
            open_ = upper[self.columns.flows.started] > 0.5
            fractions = np.where(open_, flows.started, -1.0)
            fixed[self.columns.flows.started] = rounded_starts(p, fractions, state.committed_gpus)
        every = np.concatenate([x[x >= 0] for x in self._choices()]) if only is None else only
        try:
            for share in (0.5, 1.0 - NOTHING):
                fixed[self.columns.running] = flows.generation_mw >= share * p.generator_min_mw
                live.set_column_bounds(every, fixed[every], fixed[every])
                with suppress(InfeasibleError):  # what comes next asks for less
                    return live.solve()
            fixed[self.columns.running] = 0.0
            live.set_column_bounds(every, fixed[every], fixed[every])
            return live.solve()
        finally:
            live.set_column_bounds(every, lower[every], upper[every])

    def _of(self, result: SolverResult) -> Flows:
        """The flows of all steps, [h,...]."""
        assert result.values is not None
        return self._flows(result.values)

    def _flows(self, values: Floats) -> Flows:
        values = np.append(values, 0.0)  # index -1: always 0
        return self.columns.flows.map(lambda index: values[index])

    def _choices(self) -> list[Index]:
        return [self.columns.charging, self.columns.running, self.columns.flows.started]


def _meets(found: SolverResult, other: SolverResult, gap: float) -> bool:
    """Whether a plan is within the gap of the objective of another program, or better."""
    assert found.objective is not None and other.objective is not None
    return is_within(found.objective, other.objective, gap)


def now_and_later(started: Floats) -> list[Floats]:
    """Fractions of starts [h,J,K] to be rounded: as they are; where jobs start in part now, all those now, and later.

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


def _padded(exo: Exogenous, steps: int) -> Exogenous:
    """A window of ``steps`` steps: the last one repeated."""
    missing = steps - len(exo.arrivals_gpuh)
    if not missing:
        return exo
    return exo.map(lambda x: np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]))
