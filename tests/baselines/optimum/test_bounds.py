"""Bounds that hold in exact numbers: against exact arithmetic, and against SCIP where it is installed."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from baselines.optimum.milp import solve
from baselines.optimum.relax_and_round import ProgramSolver
from baselines.program.episode import build
from baselines.program.linear import Program
from gridai_env import make_instance
from tests.support.strategies import random_instance


def exact_bound(program: Program, row_dual: np.ndarray) -> Fraction:
    """The Lagrangian bound of any multipliers, computed without any rounding."""
    lp, matrix = program.lp, program.lp.matrix
    y = [Fraction(float(value)) for value in row_dual]
    total = Fraction(float(lp.offset))
    for value, low, high in zip(y, lp.row_lower, lp.row_upper, strict=True):
        if value:
            total += value * Fraction(float(low if value > 0 else high))
    for j, (cost, low, high) in enumerate(zip(lp.costs, lp.lower, lp.upper, strict=True)):
        inside = slice(matrix.indptr[j], matrix.indptr[j + 1])
        pairs = zip(matrix.data[inside], matrix.indices[inside], strict=True)
        reduced = Fraction(float(cost)) - sum(Fraction(float(a)) * y[i] for a, i in pairs)
        if reduced:
            total += reduced * Fraction(float(low if reduced > 0 else high))
    return total


@pytest.mark.parametrize("scenario", ["two_sites", "microgrid_prosumer"])
def test_a_safe_bound_lies_below_the_exact_one_and_near_it(scenario: str) -> None:
    program = build(make_instance(scenario, seed=4, horizon_h=12.0), "benefit", None)
    program.integer[:] = False
    solver = ProgramSolver(program)
    relaxed = solver.solve()
    live, y = solver.live, solver.live.row_dual
    y = np.where(
        ((y > 0.0) & ~np.isfinite(live.row_lower)) | ((y < 0.0) & ~np.isfinite(live.row_upper)), 0.0, y
    )
    exact = exact_bound(program, y)
    assert relaxed.is_safe and relaxed.objective is not None
    assert Fraction(relaxed.bound) <= exact
    assert relaxed.bound >= float(exact) - 1e-9 * abs(float(exact))
    assert relaxed.bound >= relaxed.objective - 1e-7 * abs(relaxed.objective)
    # Multipliers of no meaning: more rounding, still below.
    odd = y + np.random.default_rng(0).normal(size=len(y)) * np.where(
        live.row_lower == live.row_upper, 1.0, 0.0
    )
    assert Fraction(solver.safe_bound(odd)) <= exact_bound(program, odd)


def test_plans_say_how_far_their_bound_is_proven() -> None:
    day = make_instance("two_sites", seed=3, horizon_h=6.0)
    plan = solve(day, threads=1)
    assert plan.is_safe == (not build(day, "benefit", None).integer.any())
    whole = solve(make_instance("microgrid_prosumer", seed=3, horizon_h=8.0), mip_gap=1e-2, threads=1)
    assert not whole.is_safe


def scip_optimum(program: Program) -> float:
    """The optimum of a program by SCIP, which shares no code with HiGHS."""
    scip: Any = pytest.importorskip("pyscipopt", reason="SCIP is not installed: pip install pyscipopt")
    model, lp, rows = scip.Model(), program.lp, program.lp.matrix.tocsr()
    model.hideOutput()
    model.setParam("limits/gap", 0.0)
    columns = zip(lp.costs, lp.lower, lp.upper, program.integer, strict=True)
    x = [
        model.addVar(lb=float(low), ub=float(high), obj=float(cost), vtype="I" if whole else "C")
        for cost, low, high, whole in columns
    ]
    for i, (low, high) in enumerate(zip(lp.row_lower, lp.row_upper, strict=True)):
        inside = slice(rows.indptr[i], rows.indptr[i + 1])
        pairs = zip(rows.data[inside], rows.indices[inside], strict=True)
        body = scip.quicksum(float(a) * x[j] for a, j in pairs)
        if np.isfinite(low):
            model.addCons(body >= float(low))
        if np.isfinite(high):
            model.addCons(body <= float(high))
    model.optimize()
    assert model.getStatus() == "optimal"
    return float(model.getObjVal() + lp.offset)


@pytest.mark.parametrize("seed", range(12))
def test_the_optimum_of_scip_lies_between_bound_and_plan(seed: int) -> None:
    pytest.importorskip("pyscipopt", reason="SCIP is not installed: pip install pyscipopt")
    instance = random_instance(seed)
    plan = solve(instance, mip_gap=1e-6, threads=1)
    assert plan.objective_value is not None
    best = -scip_optimum(build(instance, "benefit", None))
    slack = 1e-6 * max(abs(best), 1.0)
    assert plan.objective_value - slack <= best <= plan.bound + slack
