"""Scale does not matter: a scenario larger or smaller gives the same decisions, and every objective solves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from baselines.mpc import MPC
from baselines.optimum.carbon_front import FrontProgram
from baselines.optimum.highs import PersistentSolver
from baselines.optimum.latency_chain import LatencySweepSolver
from baselines.optimum.milp import service_of, solve
from baselines.optimum.shadow_prices import shadow_prices
from baselines.program.episode import build
from baselines.rules.greedy import Greedy
from baselines.rules.single_signal import LocalOnly
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.run import run
from gridai_env.rollout.trajectory import Trajectory
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import load_scenario
from gridai_env.world.size import unit_of
from tests.support.scaled import scaled
from tests.support.small_scenario import FLEXIBLE, SMALL

FACTORS = (1e-3, 10.0, 1e3)


@pytest.fixture(scope="module", params=["two_sites", "small", "flexible"])
def keys(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "two_sites":
        return load_scenario("two_sites", horizon_h=12.0).model_dump()
    keys = {**SMALL, "horizon_h": 12.0, "jobs": [], "events": []}
    if request.param == "flexible":
        keys["sites"] = [site | FLEXIBLE[site["name"]] for site in SMALL["sites"]]
    return keys


def gigawatt() -> dict[str, Any]:
    """Two sites of a million accelerators, one of them with a small battery."""
    two = load_scenario("two_sites", carbon_price_usd_per_t=50.0).model_dump()
    for site in two["sites"]:
        site["gpus"] = 1e6
    for region in two["regions"]:
        region["mean_gpus"] = 5e5
    return two


@pytest.mark.parametrize("objective", ["benefit", "cost", "carbon"])
def test_every_objective_solves_at_a_gigawatt(objective: str) -> None:
    plan = solve(scaled(gigawatt(), 1.0, seed=1), objective, threads=1)  # type: ignore[arg-type]
    assert plan.status == "optimal" and plan.gap <= 1e-4


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_the_optimum_grows_with_the_scenario(keys: dict[str, Any], factor: float) -> None:
    """Objective, bound and flows are multiplied; prices are not."""
    one, other = scaled(keys, 1.0), scaled(keys, factor)
    plans = [solve(i, threads=1, mip_gap=1e-6) for i in (one, other)]
    pairs = [plans]
    for objective in ("cost", "carbon"):
        pairs.append([solve(plan.instance, objective, threads=1, mip_gap=1e-6, floor=plan) for plan in plans])  # type: ignore[arg-type]
    for small, large in pairs:
        assert large.objective_value == pytest.approx(small.objective_value * factor, rel=2e-6)
        assert large.bound == pytest.approx(small.bound * factor, rel=2e-6)
    before, after = (shadow_prices(plan) for plan in plans)
    assert after.dual_usd == pytest.approx(before.dual_usd * factor, rel=1e-6)
    total = [float(prices.energy_usd_per_mwh.sum()) for prices in (before, after)]
    assert total[1] == pytest.approx(total[0], rel=1e-3)


def served(trajectory: Trajectory, factor: float) -> np.ndarray[Any, Any]:
    return trajectory.flows.served_gpuh / factor


@pytest.mark.parametrize("factor", FACTORS)
def test_policies_decide_the_same(keys: dict[str, Any], factor: float) -> None:
    one, other = scaled(keys, 1.0), scaled(keys, factor)
    for make in (LocalOnly, Greedy, MPC):
        here, there = run(make(), one), run(make(), other)
        assert there.benefit_usd == pytest.approx(here.benefit_usd * factor, rel=1e-6)
        apart = np.abs(served(there, factor) - served(here, 1.0)).sum()
        assert apart <= 1e-4 * served(here, 1.0).sum()
        np.testing.assert_allclose(there.rewards, here.rewards, atol=2e-3)


def front(instance: Instance) -> list[tuple[float, float]]:
    program = FrontProgram(instance, service_of(solve(instance, threads=1)))
    return [point.place.coordinates for point in program.sweep(3, (50.0,)) if point.place is not None]


def test_fronts_and_latency_sweeps_at_a_gigawatt() -> None:
    instance = scaled(gigawatt(), 1.0, seed=5)
    ordinary = np.array(front(scaled(gigawatt(), 0.01, seed=5))) * 100.0
    np.testing.assert_allclose(np.array(front(instance)), ordinary, rtol=1e-4)
    floor = service_of(solve(instance, threads=1))
    chain = LatencySweepSolver(instance, "carbon", floor)
    assert chain.solve(instance).status == "optimal"


def test_units_round_nothing() -> None:
    """Powers of two: what goes in comes out bit for bit."""
    instance = scaled(gigawatt(), 1.0)
    program = build(instance, "benefit", None)
    assert unit_of(instance.params) == program.unit == 256.0
    live = PersistentSolver(program.lp, unit=program.unit, counts=program.counts)
    lp = live.solver.getLp()
    assert np.array_equal(np.array(lp.col_upper_) * live.column_unit, live.upper)
    assert np.array_equal(np.array(lp.row_lower_) * live.row_unit, live.row_lower)
    assert np.array_equal(np.array(lp.col_cost_) * live.unit / live.column_unit, live.costs)
    assert {np.log2(unit) % 1.0 for unit in live.row_unit} == {0.0}


@pytest.mark.parametrize(
    "name", ["two_sites", "microgrid_prosumer", "four_markets", "energy_geography", "global"]
)
def test_shipped_scenarios_count_in_plain_units(name: str) -> None:
    assert unit_of(compile_scenario(load_scenario(name)).params) == 1.0
