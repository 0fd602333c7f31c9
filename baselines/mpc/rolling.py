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

With several futures (`baselines.mpc.futures`) one program holds the windows of all.  It is solved like a large one, and
never branches, which takes a minute in four futures of six jobs; friction is billed as in a window of one future.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from baselines.mpc.futures import Futures, Risk
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

    flows: Flows  # [n,...] of all its steps; with several futures, after the first step those of the first future
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
    """The program of a window of at most ``horizon_steps``, in one future or several, solved again and again."""

    def __init__(
        self,
        p: Params,
        shape: Shape,
        horizon_steps: int,
        options: Options | None = None,
        futures: int = 1,
        risk: Risk | None = None,
    ) -> None:
        """Lay out the columns; the first decision loads the rest.  ``p``: the constants of the scenario."""
        if horizon_steps < 1:
            raise ValueError(f"horizon_steps = {horizon_steps}: must be at least 1")
        self.steps, self.options = horizon_steps, options or Options()
        self.futures = Futures(make_columns(p, shape, horizon_steps), futures, risk or Risk())
        self._loaded: LoadedWindow | None = None

    @property
    def columns(self) -> Columns:
        """Columns of the first future."""
        return self.futures.columns[0]

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
        """Whether a future has more rows than `Options.large_rows`."""
        return len(self.structure.kept) > self.options.large_rows * len(self.futures)

    def decide(
        self,
        p: Params,
        exo: Exogenous | Sequence[Exogenous],
        state: State,
        last: bool,
        later: Bool[Bools, " J"] | None = None,
    ) -> WindowDecision:
        """Return the best plan of a window.

        ``p`` the constants with the jobs and last-resort prices; ``exo`` [n,...] the window as foreseen, n at most
        ``horizon_steps``, or one for each future, equal in the first step; ``state`` before it; ``last``: whether it
        ends with the episode; ``later`` jobs that may still be started after it.  Raises InfeasibleError where no plan
        exists, SolverError where HiGHS fails.
        """
        futures = [exo] if isinstance(exo, Exogenous) else list(exo)
        n = len(futures[0].arrivals_gpuh)
        if not 1 <= n <= self.steps:
            raise ValueError(f"the window has {n} steps, the model 1 to {self.steps}")
        if len(futures) != len(self.futures):
            raise ValueError(f"{len(futures)} futures are given, the model has {len(self.futures)}")

        # Steps behind the end of a short window repeat the last one; their bounds close them.
        padded = [_padded(future, self.steps) for future in futures]
        ends = None if last else self._ending_costs(p, futures, n, later)
        sides = self.read(p, padded, n, ends)
        bounds = self._bounds(p, padded, state, sides, n)
        costs = sides.costs if ends is None else sides.costs + sum(ends[1:], ends[0]) / len(ends)

        billed_steps = self.options.friction_steps if self.is_large else self.steps
        self.loaded.push(sides, bounds, self.futures.objective(costs), n, billed_steps)
        result, whole = self._solve(p, state)
        assert result.values is not None and result.objective is not None
        flows = self.columns.flows_of(result.values).map(lambda x: x[:n])
        constant = (1.0 - self.futures.risk.weight) * float(sides.cost_constants[:n].sum())
        return WindowDecision(flows, -result.objective - constant, result.status, whole)

    def read(
        self,
        p: Params,
        exo: Exogenous | Sequence[Exogenous],
        steps: int | None = None,
        ends: Sequence[Floats] | None = None,
    ) -> Sides:
        """Return the numbers of a window ``exo`` [h,...], of each future; the first one also lays out the rows.

        ``steps`` (None: all) count for the risk, and what is left at their ``ends``.
        """
        futures = [exo] if isinstance(exo, Exogenous) else exo
        each = [expressions(p, *pair) for pair in zip(self.futures.columns, futures, strict=True)]
        found = self.futures.joined(each, self.steps if steps is None else steps, ends)
        if self._loaded is None:
            structure = structure_of(found, self.futures.count, unit_of(p))
            several = len(self.futures) > 1
            options = {"threads": self.options.threads, "seed": self.options.seed}
            self._loaded = LoadedWindow(structure, self.futures, loads_anew=several, **options)
        return self.structure.read(found)

    def _ending_costs(
        self, p: Params, futures: Sequence[Exogenous], n: int, later: Bool[Bools, " J"] | None
    ) -> list[Float[Floats, " columns"]]:
        """Return the cost of what each future leaves after step n - 1."""
        pairs = zip(futures, self.futures.columns, strict=True)
        return [ending_costs(p, exo, columns, n, later, self.options.ending) for exo, columns in pairs]

    def _solve(self, p: Params, state: State) -> tuple[SolverResult, bool]:
        """Return the plan with its status, and whether its relaxation left nothing open."""
        several = len(self.futures) > 1
        relaxed = self.loaded.relax(from_scratch=self.is_large or several)
        assert relaxed.values is not None

        search = WholeWindow(self.loaded.live, self.futures.columns, p, state)
        if not len(search.open_columns(relaxed.values)):
            return relaxed, True
        # Large windows round first: there branching is slow, and rounding is nearly always within the gap.
        plan = search.whole_plan(
            relaxed,
            Deadline(self.options.time_limit_s),
            mip_gap=self.options.mip_gap,
            node_limit=0 if several else self.options.node_limit,
            round_first=self.is_large or several,
        )
        return plan, False

    # Bounds -----------------------------------------------------------------------------------------------------

    def _bounds(
        self, p: Params, futures: Sequence[Exogenous], state: State, sides: Sides, n: int
    ) -> tuple[Float[Floats, " columns"], Float[Floats, " columns"]]:
        """Return the bounds of the columns of a window of ``n`` steps."""
        lower, upper = np.zeros(self.futures.count), np.full(self.futures.count, np.inf)
        if self.futures.risk.weight:
            lower[self.futures.threshold] = -np.inf

        # Bounds of the flows, narrowed by the rows of a single column.
        past_mw = np.minimum(state.baseline_sum_mw, state.day_before_mw).min(-1, initial=0.0)
        for exo, columns in zip(futures, self.futures.columns, strict=True):
            carried = np.concatenate([state.backlog_gpuh[None], exo.queue_limit_gpuh[:-1]])
            ceilings = flow_ceilings(p, exo, carried, -past_mw) | {"started": exo.job_open}
            for name, most in ceilings.items():
                index = getattr(columns.flows, name)
                upper[index[index >= 0]] = most[index >= 0]
            upper[columns.modes] = 1.0
        self.structure.narrow(sides, lower, upper)

        # Steps behind the end are closed; the state before the window is known.
        late = self.futures.step >= n
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
