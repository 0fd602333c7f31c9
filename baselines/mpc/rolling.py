"""A window of the program that stays loaded: numbers change from decision to decision, the model does not.

    model = RollingModel(instance.params, instance.compiled.shape, horizon_steps=24)
    decision = model.decide(instance.params, foreseen, state, last=False)

Windows that the end of the episode cuts short use the same model: later steps are closed by their bounds.

The relaxed program is solved first, from the basis of the window before, moved by one step; yes/no decisions that it
leaves open follow (`baselines.mpc.whole_window`).

Large windows (`Options.large_rows`) go another way to a plan of the same gap, because there both steps are slow:

- The relaxed program is solved from scratch.  Where most prices and arrivals have changed, the basis of the window
  before saves few iterations, but it keeps HiGHS from presolving and from scaling the changed coefficients anew.
- Open decisions are rounded and fixed first, a job that the relaxed plan starts in part now both ways: now, and
  later.  The relaxed program bounds every plan, so the better one needs no branching where it is within the gap.
- Moving sessions and warming up are billed in the first `Options.friction_steps` steps only.  These rows are most of
  the program; those of late steps hardly affect the first step.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from baselines.mpc.loaded_window import LoadedWindow
from baselines.mpc.terminal_value import Ending, ending_costs
from baselines.mpc.whole_window import WholeWindow
from baselines.optimum import InfeasibleError
from baselines.optimum.highs import Deadline, SolverResult
from baselines.program.rows import flow_ceilings
from baselines.program.sparsity import TOLERANCE, Sides, Structure, structure_of
from baselines.program.window import Columns, expressions, make_columns
from gridai_env.arrays.types import Bool, Bools, Float, Floats
from gridai_env.world.size import unit_of
from gridai_env.world.state import Exogenous, Flows, Params, Shape, State


@dataclass(frozen=True)
class Options:
    """How a window is solved."""

    mip_gap: float = 1e-3  # of windows with yes/no decisions that their relaxation leaves open
    # Limits for those decisions; then the incumbent, else the rounded relaxation, is used.  The node limit gives the
    # same result on every machine; the time limit is only a safeguard.
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
    """The plan of a window."""

    flows: Flows  # [n,...] of all its steps
    objective_usd: float  # benefit of the window, end values included; of large ones less the friction billed
    # "optimal" (to the gap), "node_limit" (an incumbent) or "rounded" (no whole incumbent within the nodes), all of
    # them the same on every machine; "time_limit" (an incumbent or "rounded", depending on the clock)
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
        self._loaded: LoadedWindow | None = None

    @property
    def loaded(self) -> LoadedWindow:
        """The program in HiGHS; raises RuntimeError before the first window is read."""
        if self._loaded is None:
            raise RuntimeError("nothing is loaded before the first decision")
        return self._loaded

    @property
    def structure(self) -> Structure:
        """Which columns stand in which rows; raises RuntimeError before the first window is read."""
        return self.loaded.structure

    @property
    def is_large(self) -> bool:
        """Whether the window has more rows than `Options.large_rows`."""
        return len(self.structure.kept) > self.options.large_rows

    def decide(
        self, p: Params, exo: Exogenous, state: State, last: bool, later: Bool[Bools, " J"] | None = None
    ) -> WindowDecision:
        """Return the best plan of a window.

        ``p`` the constants with the jobs and last-resort prices; ``exo`` [n,...] the window as foreseen, n at most
        ``horizon_steps``; ``state`` before it; ``last``: whether it ends with the episode; ``later`` jobs that may
        still be started after it.  Raises InfeasibleError where no plan exists, SolverError where HiGHS fails.
        """
        n = len(exo.arrivals_gpuh)
        if not 1 <= n <= self.steps:
            raise ValueError(f"the window has {n} steps, the model 1 to {self.steps}")

        # Steps behind the end of a short window repeat the last one; their bounds close them.
        padded = _padded(exo, self.steps)
        sides = self.read(p, padded)
        bounds = self._bounds(p, padded, state, sides, n)
        costs = sides.costs.copy()
        if not last:
            costs += ending_costs(p, exo, self.columns, n, later, self.options.ending)

        billed_steps = self.options.friction_steps if self.is_large else self.steps
        self.loaded.push(sides, bounds, costs, n, billed_steps)
        result, whole = self._solve(p, state)
        assert result.values is not None and result.objective is not None
        flows = self.columns.flows_of(result.values).map(lambda x: x[:n])
        benefit_usd = -result.objective - float(sides.cost_constants[:n].sum())
        return WindowDecision(flows, benefit_usd, result.status, whole)

    def read(self, p: Params, exo: Exogenous) -> Sides:
        """Return the numbers of a window ``exo`` [h,...]; the first one also lays out the rows."""
        found = expressions(p, self.columns, exo)
        if self._loaded is None:
            structure = structure_of(found, self.columns.count, unit_of(p))
            options = {"threads": self.options.threads, "seed": self.options.seed}
            self._loaded = LoadedWindow(structure, self.columns, **options)
        return self.structure.read(found)

    def _solve(self, p: Params, state: State) -> tuple[SolverResult, bool]:
        """Return the plan with its status, and whether its relaxation left nothing open."""
        relaxed = self.loaded.relax(from_scratch=self.is_large)
        assert relaxed.values is not None

        search = WholeWindow(self.loaded.live, self.columns, p, state)
        if not len(search.open_columns(relaxed.values)):
            return relaxed, True
        # Large windows round first: there branching is slow, and rounding is nearly always within the gap.
        plan = search.whole_plan(
            relaxed,
            Deadline(self.options.time_limit_s),
            mip_gap=self.options.mip_gap,
            node_limit=self.options.node_limit,
            round_first=self.is_large,
        )
        return plan, False

    # Bounds -----------------------------------------------------------------------------------------------------

    def _bounds(
        self, p: Params, exo: Exogenous, state: State, sides: Sides, n: int
    ) -> tuple[Float[Floats, " columns"], Float[Floats, " columns"]]:
        """Return the bounds of the columns of a window of ``n`` steps."""
        lower, upper = np.zeros(self.columns.count), np.full(self.columns.count, np.inf)

        # Bounds of the flows, narrowed by the rows of a single column.
        carried = np.concatenate([state.backlog_gpuh[None], exo.queue_limit_gpuh[:-1]])
        past_mw = np.minimum(state.baseline_sum_mw, state.day_before_mw).min(-1, initial=0.0)
        for name, most in (flow_ceilings(p, exo, carried, -past_mw) | {"started": exo.job_open}).items():
            index = getattr(self.columns.flows, name)
            upper[index[index >= 0]] = most[index >= 0]
        upper[self.columns.modes] = 1.0
        self.structure.narrow(sides, lower, upper)

        # Steps behind the end are closed; the state before the window is known.
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
        apart = lower - upper > TOLERANCE * np.maximum(self.structure.unit, np.abs(upper))
        if apart.any():
            column = int(apart.argmax())
            rows = ", ".join(self.structure.single_rows_of(column)) or "the ceiling of a flow"
            raise InfeasibleError(
                f"the window contradicts itself: {rows}: at least {lower[column]:g} and at most {upper[column]:g}"
            )


def _padded(exo: Exogenous, steps: int) -> Exogenous:
    """Return a window of ``steps`` steps: the last one repeated."""
    missing = steps - len(exo.arrivals_gpuh)
    if not missing:
        return exo
    return exo.map(lambda x: np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]))
