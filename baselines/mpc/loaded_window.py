"""A window's program in HiGHS: numbers change with every decision, the basis is shifted by one step."""

from __future__ import annotations

from operator import itemgetter

import highspy
import numpy as np
from scipy import sparse

from baselines.mpc.futures import Futures
from baselines.optimum import InfeasibleError, SolverError
from baselines.optimum.highs import PersistentSolver, SolverResult
from baselines.program.linear import LinearProgram
from baselines.program.sparsity import Sides, Structure
from baselines.program.window import Columns
from gridai_env.arrays.types import Float, Floats

# Blocks of rows that say what moving and warming up comes to.
FRICTION = ("relocated", "warmed")


class LoadedWindow:
    """The relaxed program of windows that share a structure, loaded once."""

    def __init__(
        self,
        structure: Structure,
        columns: Columns | Futures,
        *,
        loads_anew: bool = False,
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        """Take the structure; `push` loads the first numbers.

        ``loads_anew``: load every window whole, which is faster where most of its numbers change.
        """
        self.loads_anew = loads_anew
        self.structure, self.counts, self.threads, self.seed = structure, columns.counts, threads, seed
        next_column, next_row = columns.next_step(), structure.next_step()
        self.later_columns, self.later_rows = (
            itemgetter(*next_column.tolist()),
            itemgetter(*next_row.tolist()),
        )
        self.row_of_pair = np.searchsorted(structure.kept, structure.row[structure.many])
        self._live: PersistentSolver | None = None
        self._basis: highspy.HighsBasis | None = None
        self._pushed: Floats = np.zeros(0)

    @property
    def live(self) -> PersistentSolver:
        """The solver; raises RuntimeError before the first `push`."""
        if self._live is None:
            raise RuntimeError("nothing is loaded before the first decision")
        return self._live

    def push(
        self,
        sides: Sides,
        bounds: tuple[Float[Floats, " columns"], Float[Floats, " columns"]],
        costs: Float[Floats, " columns"],
        steps: int,
        billed_steps: int,
    ) -> None:
        """Load the numbers of a window of ``steps``; bill friction in at most ``billed_steps`` of them."""
        s = self.structure
        last = np.where(s.of_block(*FRICTION), min(steps, billed_steps), steps)
        closed = (s.step >= last)[s.kept]
        right = -sides.constants[s.kept]
        row_lower = np.where(closed, -highspy.kHighsInf, right)
        row_upper = np.where(closed | ~s.is_equality[s.kept], highspy.kHighsInf, right)
        coefficients = sides.coefficients[s.many]

        # After the first load only what has changed: coefficients one by one, the rest as whole vectors.
        if self._live is None or self.loads_anew:
            place = self.row_of_pair, s.column[s.many]
            matrix = sparse.csc_matrix((coefficients, place), shape=(len(s.kept), s.count))
            whole = np.zeros(s.count, dtype=bool)
            lp = LinearProgram(matrix, costs, *bounds, row_lower, row_upper, integer=whole)
            self._live = PersistentSolver(
                lp, unit=s.unit, counts=self.counts, threads=self.threads, seed=self.seed
            )
        else:
            changed = np.flatnonzero(coefficients != self._pushed)
            columns = s.column[s.many[changed]]
            self._live.set_coefficients(self.row_of_pair[changed], columns, coefficients[changed])
            self._live.set_column_bounds(np.arange(s.count), *bounds)
            self._live.set_costs(np.arange(s.count), costs)
            self._live.set_row_bounds(np.arange(len(s.kept)), row_lower, row_upper)
        self._pushed = coefficients

    def relax(self, *, from_scratch: bool) -> SolverResult:
        """Solve the window without yes/no decisions, from where the last one ended or from scratch."""
        live = self.live
        if from_scratch:
            live.forget()
            return live.solve()

        if self._basis is not None:
            live.solver.setBasis(self._moved(self._basis))
        try:
            result = live.solve()
        except (InfeasibleError, SolverError):
            # The basis of other numbers can make simplex fail: solve from scratch before reporting a failure.
            live.forget()
            result = live.solve()
        self._basis = live.solver.getBasis()
        return result

    def _moved(self, basis: highspy.HighsBasis) -> highspy.HighsBasis:
        """Return the basis one step later: the plan of the window before, of which one step is done."""
        out = highspy.HighsBasis()
        out.valid = out.alien = True  # alien: HiGHS completes what the new last step lacks
        out.col_status = self.later_columns(basis.col_status)
        out.row_status = self.later_rows(basis.row_status)
        return out
