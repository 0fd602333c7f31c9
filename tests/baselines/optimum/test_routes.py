"""Programs solved over few routes: duals of the routes that are left out are exact, and so are plan and bound."""

from __future__ import annotations

import numpy as np
import pytest

from baselines.optimum.highs import Deadline, PersistentSolver
from baselines.optimum.proofs import proven_bound
from baselines.optimum.routes import routes_of, solve_routes
from baselines.optimum.time_split import without_friction
from baselines.program.episode import build
from baselines.program.linear import Program
from gridai_env.episodes.instance import make_instance
from gridai_env.scenario.load import load_scenario, parse_scenario
from scripts.studies.enlarged import enlarged

NO_LIMIT = Deadline(None)


@pytest.fixture(scope="module", params=["four_markets", "global"])
def program(request: pytest.FixtureRequest) -> Program:
    """Half a day of eight sites, or of ten with jobs, without decisions."""
    tables = load_scenario(request.param).model_dump(mode="json")
    sites = max(len(tables["sites"]) + 1, 8)
    scenario = parse_scenario(enlarged(tables, sites, 0), "larger")
    made = build(make_instance(scenario, seed=3, horizon_h=8.0), "benefit", None)
    made.integer[:] = False
    return made


@pytest.fixture(scope="module")
def whole(program: Program) -> tuple[float, np.ndarray]:
    """Optimum and duals of the program over all routes."""
    live = PersistentSolver(program.lp, unit=program.unit, counts=program.counts)
    best = live.solve().objective
    assert best is not None
    return best, live.row_dual


def test_duals_of_relocation_follow_from_the_others(
    program: Program, whole: tuple[float, np.ndarray]
) -> None:
    best, duals = whole
    routes = routes_of(program)
    assert (routes.rows >= 0).sum() == (program.rows["relocated"] >= 0).sum() > 0
    without = duals.copy()
    without[routes.rows[routes.rows >= 0]] = 0.0
    assert proven_bound(program.lp, without) < best - 1e-3 * abs(best)
    again, _ = routes.completed(program.lp, without)
    assert best - 1e-7 * abs(best) <= proven_bound(program.lp, again) <= best + 1e-9 * abs(best)


def test_few_routes_give_the_optimum_over_all(program: Program, whole: tuple[float, np.ndarray]) -> None:
    best, _ = whole
    lp, routes = program.lp, routes_of(program)
    first = routes.cheapest(lp, np.zeros(program.size[0]), 1)
    found = solve_routes(lp, routes, first, NO_LIMIT, 1e-6, unit=program.unit, counts=program.counts)
    assert found is not None
    assert found.is_open.sum() < 0.9 * (routes.served >= 0).sum()
    sides = lp.matrix @ found.values
    slack = 1e-5 * program.unit
    assert (sides >= lp.row_lower - slack).all() and (sides <= lp.row_upper + slack).all()
    value = lp.offset + float(lp.costs @ found.values)
    assert found.bound - 1e-9 * abs(best) <= best <= value + 1e-7 * abs(best)
    assert value - found.bound < 1e-3 * abs(best)
    # Too few routes are known to be too few.
    assert first.sum() < found.is_open.sum()


def test_free_relocation_bounds_the_optimum(program: Program, whole: tuple[float, np.ndarray]) -> None:
    best, _ = whole
    bound = proven_bound(program.lp, without_friction(program, NO_LIMIT))
    assert best - 0.5 * abs(best) <= bound <= best + 1e-9 * abs(best)
