"""Programs that stay loaded in HiGHS."""

from __future__ import annotations

import highspy
import numpy as np

from baselines.optimum.highs import PersistentSolver


def knapsacks() -> PersistentSolver:
    """A program that takes thousands of nodes: five knapsacks share thirty things."""
    rng = np.random.default_rng(3)
    things, sacks = 30, 5
    weight = rng.integers(30, 100, (things, sacks)).astype(float)
    lp = highspy.HighsLp()
    lp.num_row_, lp.num_col_ = sacks, things
    lp.col_cost_ = -(weight.sum(1) + rng.integers(0, 20, things))
    lp.col_lower_, lp.col_upper_ = np.zeros(things), np.ones(things)
    lp.row_lower_, lp.row_upper_ = np.full(sacks, -highspy.kHighsInf), weight.sum(0) // 2
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = np.arange(0, weight.size + 1, sacks)
    lp.a_matrix_.index_ = np.tile(np.arange(sacks), things)
    lp.a_matrix_.value_ = weight.ravel()
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
