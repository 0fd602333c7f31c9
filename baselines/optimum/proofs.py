"""Bounds that hold in exact numbers, whatever a solver's tolerances."""

from __future__ import annotations

from math import fsum

import numpy as np

from baselines.program.linear import LinearProgram
from gridai_env.arrays.types import Float, Floats

# Relative error of one operation in double precision, and as much again for that of the error terms themselves.
ROUNDING = 2.0**-52


def proven_bound(lp: LinearProgram, row_dual: Float[Floats, " rows"] | None = None) -> float:
    """Return a lower bound of a program that holds for any multipliers (default 0).

    Lagrangian bound of Neumaier and Shcherbina (2004): each row and each column at the end of its interval that is
    worst for the bound.  Needs finite bounds on columns, which the model states.  What its own arithmetic may round
    away is taken off.
    """
    if row_dual is None or len(row_dual) != len(lp.row_lower):  # the solver stopped before it had any
        row_dual = np.zeros(len(lp.row_lower))
    # A dual on an infinite side has no valid bound term: use 0 instead.
    y = np.where((row_dual > 0.0) & ~np.isfinite(lp.row_lower), 0.0, row_dual)
    y = np.where((y < 0.0) & ~np.isfinite(lp.row_upper), 0.0, y)
    reduced = lp.costs - lp.matrix.T @ y
    terms = np.concatenate(
        [[lp.offset], worst(y, lp.row_lower, lp.row_upper), worst(reduced, lp.lower, lp.upper)]
    )

    # A sum of n products is off by at most n + 1 roundings of the sum of their sizes.
    roundings = ROUNDING * (np.diff(lp.matrix.indptr) + 2.0)
    off = roundings * (np.abs(lp.costs) + abs(lp.matrix).T @ np.abs(y))
    furthest = np.maximum(np.abs(lp.lower), np.abs(lp.upper))
    lost = fsum(off * np.where(off > 0.0, furthest, 0.0)) + ROUNDING * fsum(np.abs(terms))
    return fsum(terms) - lost if np.isfinite(terms).all() else -np.inf


def worst(factor: Floats, lower: Floats, upper: Floats) -> Floats:
    """Return the least of ``factor * x`` for x between its bounds; infinite ends count where the factor does."""
    ends = np.where(factor > 0.0, lower, upper)
    return np.asarray(factor * np.where(factor == 0.0, 0.0, ends))
