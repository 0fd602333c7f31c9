"""The program from whole arrays against its formulation in Pyomo, step by step."""

from __future__ import annotations

import numpy as np
import pytest

from baselines.optimum import InfeasibleError
from baselines.optimum.milp import service_of, solve
from baselines.optimum.relax_and_round import ProgramSolver
from baselines.program.episode import build
from baselines.program.linear import Program
from baselines.program.objectives import OBJECTIVES, Objective
from baselines.program.service_floor import Floor
from gridai_env import make_instance
from gridai_env.episodes.instance import Instance
from tests.support.strategies import random_instance

SCENARIOS = ("two_sites", "four_markets", "microgrid_prosumer", "energy_geography", "global")
WORLDS = range(16)


def relaxed(program: Program) -> float | None:
    """The optimum without yes/no decisions; None: there is no plan."""
    program.integer[:] = False
    try:
        return ProgramSolver(program).solve(explain=False).objective
    except InfeasibleError:
        return None


def check_same(instance: Instance, objective: Objective, floor: Floor | None, **more: object) -> None:
    """Both builders: the same decisions, relaxed optimum and proven value of every flow's ceiling.

    The objective benefit has no floor.
    """
    given = None if objective == "benefit" else floor
    ours, theirs = (
        build(instance, objective, given, builder=builder, **more)  # type: ignore[arg-type]
        for builder in ("affine", "pyomo")
    )
    assert ours.integer.sum() == theirs.integer.sum() and ours.counts.sum() >= theirs.counts.sum()
    for name in ("charging", "running"):
        np.testing.assert_array_equal(getattr(ours, name) >= 0, getattr(theirs, name) >= 0)

    # Flows in no row (-1 there) may have a column here.
    for name in ours.flows.names():
        mine, other = getattr(ours.flows, name), getattr(theirs.flows, name)
        assert (mine[other >= 0] >= 0).all(), name
        both = (mine >= 0) & (other >= 0)
        np.testing.assert_allclose(ours.lp.upper[mine[both]], theirs.lp.upper[other[both]], rtol=1e-12)
    a, b = relaxed(ours), relaxed(theirs)
    assert (a is None) == (b is None)
    if a is not None and b is not None:
        assert a == pytest.approx(b, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_shipped_scenarios(scenario: str) -> None:
    horizon_h = 6.0 if scenario in ("global", "energy_geography") else 24.0
    instance = make_instance(scenario, seed=11, horizon_h=horizon_h)
    floor = service_of(solve(instance, mip_gap=1e-2, threads=1))
    for objective in OBJECTIVES:
        check_same(instance, objective, floor)


@pytest.mark.parametrize("more", [{}, {"priced": True}, {"carbon_cap_kg": 1e9}], ids=str)
def test_random_worlds(more: dict[str, object]) -> None:
    """Worlds with every feature: jobs, faults, minimum loads, negative prices, budgets, demand charges, shed."""
    for seed in WORLDS:
        check_same(random_instance(seed), "benefit", None, **more)


def test_random_worlds_under_a_floor() -> None:
    for seed in WORLDS:
        instance = random_instance(seed)
        floor = service_of(solve(instance, mip_gap=1e-2, threads=1))
        check_same(instance, "cost" if seed % 2 else "carbon", floor)


def test_each_row_has_a_name_and_a_step() -> None:
    instance = make_instance("microgrid_prosumer", seed=3, horizon_h=8.0)
    for builder in ("affine", "pyomo"):
        program = build(instance, "benefit", None, builder=builder)  # type: ignore[arg-type]
        row = program.rows["gpus"][5, 0]
        assert program.name_of(row) == "gpus[5,0]" and program.row_step[row] == 5
        found = np.sort(np.concatenate([index[index >= 0] for index in program.rows.values()]))
        np.testing.assert_array_equal(found, np.arange(program.size[0]))
        # A row has columns of its own step and of the step before.
        rows = program.lp.matrix.tocoo()
        behind = program.row_step[rows.row] - program.column_step[rows.col]
        assert set(np.unique(behind)) <= {0, 1}


def test_plans_are_the_same() -> None:
    instance = make_instance("microgrid_prosumer", seed=4, horizon_h=12.0)
    ours, theirs = (
        solve(instance, mip_gap=1e-6, threads=1, builder=builder)  # type: ignore[arg-type]
        for builder in ("affine", "pyomo")
    )
    assert ours.objective_value == pytest.approx(theirs.objective_value, rel=2e-6)
