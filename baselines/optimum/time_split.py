"""A plan and a proven bound of a program that is too large to be solved as one: it is split in time.

Each piece holds the rows of some hours, their columns, and copies of the columns of the hour before that its rows stand
in (the state it begins with).  "Copy equals original" is priced (Lagrangian relaxation), so the pieces are independent;
the sum of what each can do at best is a bound for any prices.  A bundle method looks for the prices of the highest
bound.  The plan is made window by window at the same prices (`baselines.optimum.by_windows`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import fsum

import numpy as np
from joblib import Parallel, delayed
from scipy import sparse

from baselines.optimum.bundle import Bundle
from baselines.optimum.by_windows import kept_steps, plan_by_windows
from baselines.optimum.highs import Basis, Deadline, PersistentSolver, SolverResult, is_within
from baselines.optimum.proofs import proven_bound
from baselines.optimum.rounding import rounded_choices
from baselines.program.linear import LinearProgram, Program
from gridai_env.arrays.types import Bools, Float, Floats, Index

# Of the mean worth of a state at a cut: none counts as less, so that a price of 0 can move.
LEAST_SHARE = 1e-3
# Times that windows guess the duals; rounds of the bundle method between two plans; share of its size before that the
# gap must have fallen to by then, else it has stalled.
GUESSES, ROUNDS, LEAST_FALL = 2, 5, 0.95


@dataclass(frozen=True)
class Piece:
    """Some hours of a program: its own columns, then copies of the columns before that its rows stand in."""

    lp: LinearProgram  # costs without prices
    counts: Bools
    unit: float
    own: Index  # columns of the program
    copies: Index  # columns of the program
    rows: Index  # of the program


@dataclass(frozen=True)
class Solved:
    """What a piece does at best at some prices."""

    bound: float  # proven
    values: Float[Floats, " columns"]
    row_dual: Float[Floats, " rows"]
    basis: Basis | None  # to start the next solve from


def pieces_of(program: Program) -> list[Piece]:
    """Return the program in pieces; raise ValueError where rows belong to no hour (a service floor, a cap)."""
    row_step = program.row_step
    if (row_step < 0).any():
        raise ValueError("rows of a whole episode (a service floor, a cap) cannot be split in time")
    # A short end stays with the piece before.
    steps, length = len(program.flows.charge_mw), kept_steps(program)
    count = max(round(steps / length), 1)
    piece_of = np.minimum(np.arange(steps) // length, count - 1)
    return [
        _piece(program, piece_of[row_step] == i, piece_of[program.column_step] == i) for i in range(count)
    ]


def _piece(program: Program, is_mine: Bools, is_own: Bools) -> Piece:
    """Return the piece of some rows, whose own columns are those of the same hours."""
    lp, rows, own = program.lp, np.flatnonzero(is_mine), np.flatnonzero(is_own)
    part = lp.matrix.tocsr()[rows].tocsc()
    copies = np.flatnonzero((np.diff(part.indptr) > 0) & ~is_own)
    columns = np.concatenate([own, copies])
    cut = LinearProgram(
        matrix=part[:, columns],
        costs=np.concatenate([lp.costs[own], np.zeros(len(copies))]),
        lower=lp.lower[columns],
        upper=lp.upper[columns],
        row_lower=lp.row_lower[rows],
        row_upper=lp.row_upper[rows],
        integer=np.zeros(len(columns), dtype=bool),
    )
    return Piece(cut, program.counts[columns], program.unit, own, copies, rows)


def solve_piece(
    piece: Piece, costs: Float[Floats, " columns"], basis: Basis | None, limit_s: float | None
) -> Solved:
    """Solve a piece at its costs with prices; not solved in time, its bound is that of no multipliers."""
    lp = replace(piece.lp, costs=costs)
    live = PersistentSolver(lp, unit=piece.unit, counts=piece.counts)
    if basis is not None:
        live.start_from_basis(basis)
    found = live.solve(time_limit_s=limit_s)
    if found.values is None:
        return Solved(proven_bound(lp), np.zeros(len(costs)), np.zeros(len(piece.rows)), basis)
    return Solved(proven_bound(lp, live.row_dual), found.values, live.row_dual, live.basis)


class TimeSplit:
    """The pieces of a program, and the best bound that prices on the cuts have given so far."""

    def __init__(self, program: Program, row_dual: Float[Floats, " rows"], *, jobs: int = 1) -> None:
        """Begin with what duals of the rows, exact or guessed, say of the states at the cuts."""
        self.program, self.jobs, self.pieces = program, jobs, pieces_of(program)
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
        self.bases: list[Basis | None] = [None] * len(self.pieces)
        self.bound = -np.inf

    def improve(self, clock: Deadline, rounds: int, best_plan: float, gap: float) -> float:
        """Return the bound after so many rounds, or where it is within ``gap`` of a plan's value."""
        if self.bundle is None:
            values, slopes = self._at(self.prices, clock)
            norm = max(float(((slopes.sum(0) * self.scale) ** 2).sum()), 1e-12)
            # The step that would close the gap, were the sum of the functions as steep everywhere (Polyak).
            reach = max(best_plan - self.program.lp.offset - values.sum(), 1e-9 * abs(best_plan)) / norm
            self.bundle = Bundle(self.prices / self.scale, reach)
            self.bundle.add(self.prices / self.scale, values, slopes * self.scale)
        for _ in range(rounds):
            if is_within(best_plan, self.bound, gap) or clock.is_over():
                break
            point = self.bundle.next_point()
            values, slopes = self._at(point * self.scale, clock)
            self.bundle.add(point, values, slopes * self.scale)
        return self.bound

    def _at(
        self, prices: Float[Floats, " n"], clock: Deadline
    ) -> tuple[Float[Floats, " pieces"], Float[Floats, "pieces n"]]:
        """Return what each piece comes to at these prices, and how that changes with them."""
        lp = self.program.lp
        costs = lp.costs + np.bincount(self.copied, prices, len(lp.costs))
        own_costs = [
            np.concatenate([costs[piece.own], -prices[mine]])
            for piece, mine in zip(self.pieces, self.mine, strict=True)
        ]
        left_s = clock.left_s()
        each = zip(self.pieces, own_costs, self.bases, strict=True)
        tasks = (delayed(solve_piece)(piece, own, basis, left_s) for piece, own, basis in each)
        solved: list[Solved] = list(Parallel(n_jobs=self.jobs)(tasks))
        self.bases = [found.basis for found in solved]

        slopes = np.zeros((len(self.pieces), len(prices)))
        for i, (piece, found, mine) in enumerate(zip(self.pieces, solved, self.mine, strict=True)):
            original = np.zeros(len(costs))
            original[piece.own] = found.values[: len(piece.own)]
            slopes[i] = original[self.copied]
            slopes[i, mine] -= found.values[len(piece.own) :]

        values = np.array([found.bound for found in solved])
        if (bound := fsum([lp.offset, *values])) > self.bound:
            self.bound, self.prices, self.row_dual = bound, prices, np.zeros(len(lp.row_lower))
            for piece, found in zip(self.pieces, solved, strict=True):
                self.row_dual[piece.rows] = found.row_dual
        return values, slopes


def _of_copies(piece: Piece) -> sparse.csc_matrix:
    """Return the columns of the copies, [rows, copies]."""
    return piece.lp.matrix[:, len(piece.own) :]


def solve_split(
    program: Program, *, mip_gap: float, clock: Deadline, threads: int = 1, seed: int = 0
) -> SolverResult:
    """Return a plan and a bound; status "stalled" where the gap is above ``mip_gap`` and has stopped to fall.

    ``threads``: processes for the pieces.  Raise ValueError as `pieces_of` does.
    """
    lp, options = program.lp, {"threads": threads, "seed": seed}
    # What windows leave to later is worth nothing at first, then what those windows say.
    duals, relaxed = np.zeros(len(lp.row_lower)), None
    for _ in range(GUESSES):
        guess = plan_by_windows(program, (lp.lower, lp.upper), duals, clock, **options)
        if guess is None:
            return SolverResult("time_limit", None, proven_bound(lp), None, is_safe=True)
        duals, relaxed = guess.row_dual, guess.values
    assert relaxed is not None

    split = TimeSplit(program, duals, jobs=threads)
    found, plan, gap_before = lp.offset + float(lp.costs @ relaxed), None, np.inf
    while True:
        bound = split.improve(clock, ROUNDS, found, mip_gap)
        made = plan_by_windows(program, _with_choices(program, relaxed), split.row_dual, clock, **options)
        if made is not None:
            value = lp.offset + float(lp.costs @ made.values)
            if plan is None or value < found:
                found, plan = value, made.values

        is_near, gap = plan is not None and is_within(found, bound, mip_gap), found - bound
        if is_near or clock.is_over() or gap > LEAST_FALL * gap_before:
            status = "optimal" if is_near else "time_limit" if clock.is_over() else "stalled"
            return SolverResult(status, None if plan is None else found, bound, plan, is_safe=True)
        gap_before = gap


def _with_choices(program: Program, relaxed: Float[Floats, " columns"]) -> tuple[Floats, Floats]:
    """Return the bounds of the columns, yes/no decisions rounded from a relaxed solution and fixed."""
    lower, upper = program.lp.lower.copy(), program.lp.upper.copy()
    whole = np.round(rounded_choices(program, relaxed)[program.integer])
    lower[program.integer] = upper[program.integer] = whole
    return lower, upper
