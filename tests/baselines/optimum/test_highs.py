"""Programs that stay loaded in HiGHS."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from baselines.optimum.highs import PersistentSolver
from baselines.program.linear import LinearProgram


def knapsacks() -> PersistentSolver:
    """A program that takes thousands of nodes: five knapsacks share thirty things."""
    rng = np.random.default_rng(3)
    things, sacks = 30, 5
    weight = rng.integers(30, 100, (things, sacks)).astype(float)
    lp = LinearProgram(
        matrix=sparse.csc_matrix(weight.T),
        costs=-(weight.sum(1) + rng.integers(0, 20, things)),
        lower=np.zeros(things),
        upper=np.ones(things),
        row_lower=np.full(sacks, -np.inf),
        row_upper=weight.sum(0) // 2,
        integer=np.zeros(things, dtype=bool),
    )
    live = PersistentSolver(lp)
    live.set_integer(np.arange(things), True)
    return live


def test_a_limit_on_nodes_leaves_an_incumbent_and_a_bound() -> None:
    """Always the same ones, and better ones with more nodes."""
    cut, again, later = (knapsacks().solve(mip_gap=0.0, node_limit=n) for n in (1, 1, 500))
    assert cut.status == later.status == "node_limit"
    assert cut.objective is not None and later.objective is not None
    assert (cut.objective, cut.bound) == (again.objective, again.bound)
    assert cut.bound <= later.bound < later.objective < cut.objective
