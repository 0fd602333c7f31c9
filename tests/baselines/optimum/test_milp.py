"""The optimum as a program: statuses, objectives, floors, determinism and errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from baselines.optimum import InfeasibleError
from baselines.optimum.milp import Plan, relative_gap, service_of, solve
from baselines.optimum.relax_and_round import HUGE_ROWS, ProgramSolver
from baselines.program.episode import build
from baselines.program.service_floor import Floor
from baselines.rules import single_signal as rules
from gridai_env import make_instance
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.run import run
from gridai_env.world.actions import Layout


@pytest.fixture(scope="module")
def day() -> Instance:
    return make_instance("two_sites", seed=3)


@pytest.fixture(scope="module")
def jobs_day() -> Instance:
    return make_instance("microgrid_prosumer", seed=3)


@pytest.fixture(scope="module")
def jobs_plan(jobs_day: Instance) -> Plan:
    return solve(jobs_day, mip_gap=1e-2, threads=1, seed=5)


def test_a_plan_says_what_it_is(day: Instance) -> None:
    plan = solve(day, threads=1)
    assert (plan.status, plan.unit, plan.objective) == ("optimal", "USD", "benefit")
    assert plan.objective_value == pytest.approx(plan.solver_objective, rel=1e-9)
    assert plan.bound >= plan.objective_value and 0.0 <= plan.gap <= 1e-4
    assert plan.actions.dtype == np.float32 and np.abs(plan.actions).max() <= 1.0
    assert plan.actions.shape == (day.steps, Layout(day.compiled.shape).size)
    assert plan.build_s > 0.0 and plan.solve_s > 0.0
    assert str(plan).count("\n") == 2
    assert f"seed {day.seed}" in str(plan)
    assert f"{plan.objective_value:,.2f} USD" in str(plan)
    assert day.hash in str(plan)


def test_an_objective_that_is_rounding_has_no_gap() -> None:
    """A plan without emissions: 4e-13 kg, bound 0 kg."""
    assert relative_gap(4e-13, -3e-11) < 1e-4
    assert relative_gap(-200.0, -201.0) == 0.005


def test_equal_seeds_give_equal_plans(jobs_day: Instance, jobs_plan: Plan) -> None:
    again = solve(jobs_day, mip_gap=1e-2, threads=1, seed=5)
    np.testing.assert_array_equal(again.actions, jobs_plan.actions)
    assert again.bound == jobs_plan.bound


def test_cost_and_carbon_keep_the_service_of_the_benefit_plan(day: Instance) -> None:
    base = solve(day, threads=1)
    cost, carbon = solve(day, "cost", floor=base, threads=1), solve(day, "carbon", floor=base, threads=1)
    floor = service_of(base)
    for plan in (cost, carbon):
        assert (service_of(plan).served_gpuh >= floor.served_gpuh * (1 - 2e-9)).all()
    assert carbon.unit == "kg" and cost.unit == "USD"
    assert carbon.emissions_kg <= min(base.emissions_kg, cost.emissions_kg) + 1e-6
    spent = {name: sum(v for k, v in run(p, day).terms.items() if k not in ("revenue", "job_value"))
             for name, p in (("cost", cost), ("carbon", carbon), ("base", base))}  # fmt: skip
    assert spent["cost"] >= max(spent["carbon"], spent["base"]) - 1e-6  # costs are negative


def test_the_default_floor_is_the_instances_own_benefit_plan(day: Instance) -> None:
    given, own = solve(day, "cost", floor=solve(day, threads=1), threads=1), solve(day, "cost", threads=1)
    assert given.objective_value == pytest.approx(own.objective_value, rel=1e-9)


def test_ties_of_least_carbon_go_to_the_least_cost(day: Instance) -> None:
    """With one intensity everywhere and at all times, only the cost tells routes apart."""
    flat = np.full_like(day.exogenous.carbon_average_kg_per_mwh, 400.0)
    level = replace(
        day,
        exogenous=day.exogenous.replace(
            carbon_average_kg_per_mwh=flat, carbon_marginal_kg_per_mwh=flat, pue=np.full_like(flat, 1.1)
        ),
    )
    plan = solve(level, "carbon", threads=1)
    lazy = run(rules.LocalOnly(), level)
    assert plan.emissions_kg <= lazy.emissions_kg * (1 + 1e-9)
    assert plan.benefit_usd > lazy.benefit_usd


def test_an_impossible_floor_names_rows(day: Instance) -> None:
    served = service_of(solve(day, threads=1)).served_gpuh
    with pytest.raises(InfeasibleError, match=r"rows that conflict: .*floor served\["):
        solve(day, "cost", floor=Floor(started=np.zeros(0), served_gpuh=served * 2.0), threads=1)


def check_stopped(plan: Plan, best: Plan) -> None:
    """A plan that ran out of time still has a bound that holds, and says whether it found anything."""
    best_usd = best.objective_value
    assert plan.status == "time_limit"
    assert np.isfinite(plan.bound) and plan.bound >= best_usd * (1 - 1e-9)
    assert (plan.actions is None) == (plan.objective_value is None) == (plan.flows is None)
    if plan.actions is None:
        assert plan.gap == np.inf
        with pytest.raises(ValueError, match="sets no floor"):
            service_of(plan)
    else:
        assert run(plan, plan.instance).benefit_usd == pytest.approx(plan.objective_value, rel=1e-6)


def test_the_time_limit_leaves_a_bound(jobs_day: Instance, jobs_plan: Plan) -> None:
    check_stopped(solve(jobs_day, mip_gap=0.0, time_limit_s=1e-3, threads=1), jobs_plan)
    check_stopped(solve(jobs_day, mip_gap=0.0, time_limit_s=0.5, threads=1), jobs_plan)


def test_the_time_limit_of_huge_programs_leaves_a_bound(
    jobs_day: Instance, jobs_plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("baselines.optimum.relax_and_round.HUGE_ROWS", 0)
    check_stopped(solve(jobs_day, mip_gap=0.0, time_limit_s=1e-3, threads=1), jobs_plan)
    check_stopped(solve(jobs_day, mip_gap=0.0, time_limit_s=1.0, threads=1), jobs_plan)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objective": "profit"}, "'profit' is unknown; allowed: benefit, cost, carbon"),
        ({"mip_gap": 1.5}, "mip_gap 1.5 must lie in"),
        ({"threads": 0}, "threads 0 must be at least 1"),
        ({"time_limit_s": -1.0}, "time_limit_s -1.0 must be above 0"),
        ({"floor": Floor(np.zeros(0), np.zeros(3))}, "belongs to the objectives cost and carbon"),
    ],
)
def test_bad_arguments(day: Instance, arguments: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=message):
        solve(day, **arguments)


def test_the_proven_bound_holds_for_any_multipliers(jobs_day: Instance, jobs_plan: Plan) -> None:
    """The bound from duals lies below the optimum for the right duals, for none and for nonsense."""
    program = build(jobs_day, "benefit", None)
    solver = ProgramSolver(program)
    rng = np.random.default_rng(0)
    for scale in (0.0, 1.0, 100.0):
        bound = solver.safe_bound(rng.normal(size=program.size[0]) * scale)
        assert np.isfinite(bound) and bound <= -jobs_plan.objective_value


@pytest.mark.parametrize("scenario", ["two_sites", "microgrid_prosumer"])
def test_the_path_for_huge_programs_agrees(scenario: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relaxing, rounding and fixing gives a plan between branch and bound's bound and its own."""
    instance = make_instance(scenario, seed=0)
    plain = solve(instance, mip_gap=1e-2, threads=1)
    assert plain.rows < HUGE_ROWS
    monkeypatch.setattr("baselines.optimum.relax_and_round.HUGE_ROWS", 0)
    huge = solve(instance, mip_gap=1e-2, threads=1)
    size = abs(plain.objective_value)
    assert huge.objective_value <= plain.bound + 1e-6 * size
    assert huge.bound >= plain.objective_value - 1e-6 * size
    assert huge.gap <= 1e-2
