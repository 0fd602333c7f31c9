"""A plan and a proven bound of a program that is too large to be solved as one: it is split in time.

Each piece holds the rows of some hours, their columns, and copies of the columns of the hour before that its rows stand
in (the state it begins with).  "Copy equals original" is priced (Lagrangian relaxation), so the pieces are independent;
the sum of what each can do at best is a bound for any prices.  A bundle method looks for the prices of the highest
bound.  The plan is made window by window at the same prices (`baselines.optimum.by_windows`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import pairwise
from math import fsum
from operator import itemgetter
from typing import Any

import numpy as np
from scipy import sparse

from baselines.optimum import InfeasibleError
from baselines.optimum.bundle import Bundle
from baselines.optimum.by_windows import kept_steps, plan_by_windows
from baselines.optimum.highs import Deadline, PersistentSolver, SolverResult, is_within
from baselines.optimum.proofs import proven_bound
from baselines.optimum.rounding import with_choices
from baselines.optimum.routes import Found, Routes, routes_of, solve_routes
from baselines.program.linear import LinearProgram, Program
from gridai_env.arrays.types import Bools, Float, Floats, Index

# Of the mean worth of a state at a cut: none counts as less, so that a price of 0 can move.
LEAST_SHARE = 1e-3
# Share of the gap that may be due to routes that are left out (`solve_routes`).
SHARE = 0.25
# Rounds of the bundle method between two plans; share of its size before that the gap must have fallen to by then, else
# it has stalled.
ROUNDS, LEAST_FALL = 5, 0.95
# Rows that are left out for a first guess of the duals.
FRICTION = ("relocated", "warmed")


@dataclass(frozen=True)
class Piece:
    """Some hours of a program: its own columns, then copies of the columns before that its rows stand in."""

    lp: LinearProgram  # costs without prices
    counts: Bools
    unit: float
    own: Index  # columns of the program
    copies: Index  # columns of the program
    rows: Index  # of the program
    routes: Routes


def pieces_of(program: Program) -> list[Piece]:
    """Return the program in pieces; raise ValueError where rows belong to no hour (a service floor, a cap)."""
    if not program.is_by_steps:
        raise ValueError("rows of a whole episode (a service floor, a cap) cannot be split in time")
    # A short end stays with the piece before.
    row_step, steps, length = program.row_step, len(program.flows.charge_mw), kept_steps(program)
    count = max(round(steps / length), 1)
    piece_of = np.minimum(np.arange(steps) // length, count - 1)
    routes = routes_of(program)
    return [
        _piece(program, routes, piece_of[row_step] == i, piece_of[program.column_step] == i)
        for i in range(count)
    ]


def _piece(program: Program, routes: Routes, is_mine: Bools, is_own: Bools) -> Piece:
    """Return the piece of some rows, whose own columns are those of the same hours."""
    lp, rows, own = program.lp, np.flatnonzero(is_mine), np.flatnonzero(is_own)
    is_touched = np.diff(lp.matrix.tocsr()[rows].tocsc().indptr) > 0
    copies = np.flatnonzero(is_touched & ~is_own)
    columns = np.concatenate([own, copies])
    part = lp.part(rows, columns)
    part.costs[len(own) :] = 0.0  # copies have prices alone
    mine = routes.within(rows, columns)
    return Piece(part, program.counts[columns], program.unit, own, copies, rows, mine)


def solve_piece(
    piece: Piece, costs: Float[Floats, " columns"], is_open: Bools, end_s: float | None, gap: float, seed: int
) -> Found | None:
    """Solve a piece at its costs with prices; None where that is not done by ``end_s`` (of `time.time`)."""
    clock = Deadline(None if end_s is None else max(end_s - time.time(), 0.0))
    lp, scale = replace(piece.lp, costs=costs), {"unit": piece.unit, "counts": piece.counts}
    options: dict[str, Any] = scale | {"seed": seed}
    return solve_routes(lp, piece.routes, is_open, clock, gap, **options)


class TimeSplit:
    """The pieces of a program, and the best bound that prices on the cuts have given so far."""

    def __init__(
        self,
        program: Program,
        row_dual: Float[Floats, " rows"],
        gap: float = 0.0,
        *,
        jobs: int = 1,
        seed: int = 0,
    ) -> None:
        """Begin with what duals of the rows, exact or guessed, say of the states at the cuts.

        ``gap``: of each piece, relative, see `solve_routes`.
        """
        self.program, self.pieces = program, pieces_of(program)
        self.gap, self.jobs, self.seed = gap, jobs, seed
        # One price for each copy, piece by piece.
        self.copied = np.concatenate([piece.copies for piece in self.pieces])
        ends = np.cumsum([0, *(len(piece.copies) for piece in self.pieces)])
        self.mine = [slice(a, b) for a, b in pairwise(ends)]
        self.prices = np.concatenate([-(_of_copies(piece).T @ row_dual[piece.rows]) for piece in self.pieces])
        self.row_dual = row_dual  # at the best prices
        # Prices of unlike things are searched in units in which price and amount are of one size.
        most = np.maximum(program.lp.upper[self.copied], 1e-9)
        worth_usd = np.abs(self.prices) * most
        worth_usd = np.maximum(worth_usd, LEAST_SHARE * worth_usd.mean() if len(most) else 0.0)
        self.scale = np.sqrt(np.maximum(worth_usd, 1e-12)) / most
        self.bundle: Bundle | None = None
        # Routes of each piece that it is solved over.
        self.is_open = [piece.routes.cheapest(piece.lp, row_dual[piece.rows]) for piece in self.pieces]
        self.bound = -np.inf

    def improve(self, clock: Deadline, rounds: int, best_plan: float, gap: float) -> float:
        """Return the bound after so many rounds, or where it is within ``gap`` of a plan's value, or time is over."""
        if self.bundle is None:
            found = self._at(self.prices, clock)
            if found is None:
                return self.bound
            values, slopes = found[0], found[1] * self.scale
            norm = max(float((slopes.sum(0) ** 2).sum()), 1e-12)
            # The step that would close the gap, were the sum of the functions as steep everywhere (Polyak).
            reach = max(best_plan - self.program.lp.offset - values.sum(), 1e-9 * abs(best_plan)) / norm
            self.bundle = Bundle(self.prices / self.scale, values, slopes, reach)
        for _ in range(rounds):
            if is_within(best_plan, self.bound, gap) or clock.is_over():
                break
            point = self.bundle.next_point()
            found = self._at(point * self.scale, clock)
            if found is None:
                break
            self.bundle.add(point, found[0], found[1] * self.scale)
        return self.bound

    def _at(
        self, prices: Float[Floats, " n"], clock: Deadline
    ) -> tuple[Float[Floats, " pieces"], Float[Floats, "pieces n"]] | None:
        """Return what each piece comes to at these prices, and how that changes with them; None where time is over."""
        solved = self._solved(prices, clock)
        slopes = np.zeros((len(self.pieces), len(prices)))
        values, duals = np.zeros(len(self.pieces)), np.zeros(self.program.size[0])
        for i, (piece, found, mine) in enumerate(zip(self.pieces, solved, self.mine, strict=True)):
            if found is None:
                return None
            original = np.zeros(self.program.size[1])
            original[piece.own] = found.values[: len(piece.own)]
            slopes[i] = original[self.copied]
            slopes[i, mine] -= found.values[len(piece.own) :]
            values[i], self.is_open[i], duals[piece.rows] = found.bound, found.is_open, found.row_dual

        if (bound := fsum([self.program.lp.offset, *values])) > self.bound:
            self.bound, self.prices, self.row_dual = bound, prices, duals
        return values, slopes

    def _solved(self, prices: Float[Floats, " n"], clock: Deadline) -> list[Found | None]:
        """Return the pieces solved at these prices, side by side."""
        from joblib import Parallel, delayed  # only very large programs need it

        lp = self.program.lp
        costs = lp.costs + np.bincount(self.copied, prices, len(lp.costs))
        own_costs = [
            np.concatenate([costs[piece.own], -prices[mine]])
            for piece, mine in zip(self.pieces, self.mine, strict=True)
        ]
        left_s = clock.left_s()
        end_s = None if left_s is None else time.time() + left_s
        each = zip(self.pieces, own_costs, self.is_open, strict=True)
        tasks = (
            delayed(solve_piece)(piece, own, is_open, end_s, self.gap, self.seed)
            for piece, own, is_open in each
        )
        return list(Parallel(n_jobs=self.jobs)(tasks))


def _of_copies(piece: Piece) -> sparse.csc_matrix:
    """Return the columns of the copies, [rows, copies]."""
    return piece.lp.matrix[:, len(piece.own) :]


def solve_split(
    program: Program, *, mip_gap: float, clock: Deadline, threads: int = 1, seed: int = 0
) -> SolverResult:
    """Return a plan and a bound; status "stalled" where the gap is above ``mip_gap`` and has stopped to fall.

    ``threads``: processes for the pieces.  Raise InfeasibleError, without names of rows, where there is no plan, and
    ValueError as `pieces_of` does.
    """
    lp = program.lp
    options: dict[str, Any] = {"gap": mip_gap * SHARE, "threads": threads, "seed": seed}
    duals = without_friction(program, clock, threads=threads, seed=seed)
    bound = proven_bound(lp, duals)
    guess = plan_by_windows(program, lp, duals, clock, **options)
    if guess is None:
        return SolverResult("time_limit", None, bound, None, is_safe=True)
    duals, relaxed = guess.row_dual, guess.values
    bound = max(bound, proven_bound(lp, duals))

    split, gap_before = TimeSplit(program, duals, mip_gap * SHARE, jobs=threads, seed=seed), np.inf
    best = _rounded(program, relaxed, duals, clock, options)
    while True:
        aim = lp.offset + float(lp.costs @ relaxed) if best is None else best[0]
        if best is None or not is_within(best[0], bound, mip_gap):
            bound = max(bound, split.improve(clock, ROUNDS, aim, mip_gap))
        if not clock.is_over() and not (best and is_within(best[0], bound, mip_gap)):
            guess = plan_by_windows(program, lp, split.row_dual, clock, **options)
            relaxed = relaxed if guess is None else guess.values
            again = _rounded(program, relaxed, split.row_dual, clock, options)
            best = min((plan for plan in (best, again) if plan is not None), key=itemgetter(0), default=None)

        is_near = best is not None and is_within(best[0], bound, mip_gap)
        gap = (aim if best is None else best[0]) - bound
        if is_near or clock.is_over() or gap <= 0.0 or gap > LEAST_FALL * gap_before:
            status = "optimal" if is_near else "time_limit" if clock.is_over() else "stalled"
            value, columns = best or (None, None)
            return SolverResult(status, value, bound, columns, is_safe=True)
        gap_before = gap


def without_friction(
    program: Program, clock: Deadline, *, threads: int = 1, seed: int = 0
) -> Float[Floats, " rows"]:
    """Return duals of a program as they would be if relocating and warming up were free; 0 where time is over."""
    lp, is_left = program.lp, np.ones(program.size[0], dtype=bool)
    for kind in FRICTION:
        index = program.rows.get(kind, np.zeros(0, dtype=np.intp))
        is_left[index[index >= 0]] = False
    part = lp.part(np.flatnonzero(is_left), np.arange(program.size[1]))
    live = PersistentSolver(part, unit=program.unit, counts=program.counts, threads=threads, seed=seed)
    if live.solve(time_limit_s=clock.left_s()).values is None:
        return np.zeros(program.size[0])
    duals = np.zeros(program.size[0])
    duals[is_left] = live.row_dual
    return routes_of(program).completed(lp, duals)[0]


def _rounded(
    program: Program,
    relaxed: Float[Floats, " columns"],
    row_dual: Float[Floats, " rows"],
    clock: Deadline,
    options: dict[str, Any],
) -> tuple[float, Floats] | None:
    """Return value and columns of the plan with the decisions of a relaxed one rounded; None where there is none."""
    lp = program.lp
    if program.integer.any():
        try:
            made = plan_by_windows(program, with_choices(program, lp, relaxed), row_dual, clock, **options)
        except InfeasibleError:  # these decisions leave some window no way out
            return None
        if made is None:
            return None
        relaxed = made.values
    return lp.offset + float(lp.costs @ relaxed), relaxed
