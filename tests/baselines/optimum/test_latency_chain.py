"""One compiled program for all latency budgets, against a program built afresh at each, and the frontier's laws."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from baselines.optimum import InfeasibleError, SolverError
from baselines.optimum.highs import PersistentSolver, SolverResult
from baselines.optimum.latency_chain import LatencySweepSolver
from baselines.optimum.milp import service_of, solve
from baselines.program.objectives import OBJECTIVES, Objective
from baselines.rules import single_signal as rules
from gridai_env import make_instance
from gridai_env.analysis.latency_budgets import Sweep, make_sweep, widest
from gridai_env.analysis.latency_returns import monotone
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.run import run
from gridai_env.world.actions import Layout
from tests.support.contest import play
from tests.support.strategies import random_actions, random_instance
from tests.support.sweeps import instances_at

GAP = 1e-7
TOLERANCE = 1e-6


@cache
def points_of(scenario: str, axis: str, points: int = 3) -> tuple[Instance, ...]:
    instance = make_instance(scenario, seed=7, horizon_h=5)
    sweep = make_sweep(instance.scenario, axis, points=points)
    return tuple(instances_at(widest(instance, sweep), sweep))


def chain_plans(points: tuple[Instance, ...], objective: Objective, floor: object = None) -> list:
    chain = LatencySweepSolver(points[-1], objective, floor)  # type: ignore[arg-type]
    return [chain.solve(instance, mip_gap=GAP) for instance in points]


@pytest.mark.parametrize(
    ("scenario", "axis"),
    [
        ("energy_geography", "scale"),
        pytest.param("energy_geography", "class:interactive", marks=pytest.mark.slow),
        ("four_markets", "scale"),
    ],
)
def test_the_chain_finds_the_same_optima_as_programs_built_afresh(scenario: str, axis: str) -> None:
    points = points_of(scenario, axis)
    first = solve(points[0], "benefit", mip_gap=GAP, threads=1)
    floor = service_of(first)
    for objective in OBJECTIVES:
        keep = None if objective == "benefit" else floor
        for instance, plan in zip(points, chain_plans(points, objective, keep), strict=True):
            fresh = solve(instance, objective, mip_gap=GAP, threads=1, floor=keep)
            assert plan.objective_value == pytest.approx(fresh.objective_value, rel=TOLERANCE)
            assert plan.bound == pytest.approx(plan.objective_value, rel=TOLERANCE)
            closed = plan.flows.served_gpuh * (1.0 - instance.params.route_open)
            assert closed.max() == 0.0


def test_the_order_of_the_points_does_not_matter() -> None:
    points = points_of("energy_geography", "scale")
    upward = [plan.objective_value for plan in chain_plans(points, "benefit")]
    chain = LatencySweepSolver(points[-1], "benefit")
    downward = [chain.solve(instance).objective_value for instance in reversed(points)]
    assert downward[::-1] == pytest.approx(upward, rel=1e-9)


def test_plans_of_the_chain_replay_through_the_public_step() -> None:
    points = points_of("four_markets", "scale")
    for plan in chain_plans(points, "benefit"):
        played = run(plan, plan.instance)
        scale = sum(abs(value) for value in played.terms.values())
        assert played.benefit_usd == pytest.approx(plan.objective_value, abs=TOLERANCE * scale)


def random_points(seed: int) -> tuple[Instance, ...] | None:
    """A random world at four budgets; None where no budget opens a route."""
    instance = random_instance(seed)
    try:
        sweep = make_sweep(instance.scenario, "scale", points=4)
    except ValueError:
        return None
    return tuple(instances_at(widest(instance, sweep), sweep))


def check_laws(points: tuple[Instance, ...], seed: int) -> None:
    """V, F_cost and F_co2 never rise, and no policy lies below them."""
    plans = chain_plans(points, "benefit")
    floor = service_of(plans[0])
    rng = np.random.default_rng(seed)
    layout = Layout(points[0].compiled.shape)
    actions = random_actions(rng, points[0].steps, 12, layout.size)
    runs = [play(instance, actions) for instance in points]
    for objective in OBJECTIVES:
        try:
            found = plans if objective == "benefit" else chain_plans(points, objective, floor)
        except (
            InfeasibleError
        ):  # pragma: no cover - would be a fault: the plan of the first point keeps the floor
            pytest.fail(f"seed {seed}: {objective} has no plan")
        sign = -1.0 if objective == "benefit" else 1.0
        values = np.array([sign * plan.objective_value for plan in found])
        bounds = np.array([sign * plan.bound for plan in found])
        assert monotone(values, TOLERANCE, bounds) is None, f"seed {seed}: {objective}"
        for instance, bound, played in zip(points, bounds, runs, strict=True):
            slack = TOLERANCE * (played.scale_usd + played.emissions_kg.sum(0) + abs(bound))
            if objective == "benefit":
                assert (-played.benefit_usd >= bound - slack).all(), f"seed {seed}"
            else:
                kept = played.keeps(floor)
                assert (played.objective(instance, objective) >= bound - slack)[kept].all(), f"seed {seed}"


def test_frontier_never_rises_and_no_policy_lies_below_on_random_worlds() -> None:
    seen = 0
    for seed in range(24):
        points = random_points(seed)
        if points is not None:
            check_laws(points, seed)
            seen += 1
    assert seen >= 8


@pytest.mark.slow
def test_the_same_on_many_random_worlds() -> None:
    for seed in range(1000, 1200):
        points = random_points(seed)
        if points is not None:
            check_laws(points, seed)


def test_rules_lie_above_the_frontier_of_a_shipped_scenario() -> None:
    points = points_of("energy_geography", "scale")
    for plan in chain_plans(points, "benefit"):
        for rule in (rules.LocalOnly(), rules.PriceOnly()):
            assert run(rule, plan.instance).benefit_usd <= plan.bound + TOLERANCE * abs(plan.bound)


def test_a_wider_or_another_episode_is_refused() -> None:
    points = points_of("energy_geography", "scale")
    chain = LatencySweepSolver(points[0], "benefit")
    with pytest.raises(ValueError, match="closed at the widest budget"):
        chain.solve(points[-1])
    other = make_instance("energy_geography", seed=8, horizon_h=5)
    with pytest.raises(ValueError, match="not the episode of the chain"):
        LatencySweepSolver(points[-1], "benefit").solve(replace(other, params=points[-1].params))


def test_floor_and_objective_must_go_together() -> None:
    points = points_of("energy_geography", "scale")
    with pytest.raises(ValueError, match="need one"):
        LatencySweepSolver(points[-1], "cost")
    floor = service_of(solve(points[0], threads=1))
    with pytest.raises(ValueError, match="benefit has none"):
        LatencySweepSolver(points[-1], "benefit", floor)
    with pytest.raises(ValueError, match="unknown"):
        LatencySweepSolver(points[-1], "profit")  # type: ignore[arg-type]


def test_a_time_limit_leaves_a_proven_bound() -> None:
    instance = make_instance("energy_geography", seed=7, horizon_h=12)
    sweep = Sweep("scale", (0.5, 1.0))
    points = instances_at(widest(instance, sweep), sweep)
    best = solve(points[-1], threads=1).objective_value
    plan = LatencySweepSolver(points[-1], "benefit").solve(points[-1], time_limit_s=1e-3)
    assert plan.status == "time_limit"
    assert plan.flows is None
    assert plan.bound >= best


def test_a_start_that_misses_its_tolerances_begins_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    points = points_of("energy_geography", "scale")
    expected = [plan.objective_value for plan in chain_plans(points, "benefit")]
    real, calls = PersistentSolver.outcome, []

    def misses_at_first(solver: PersistentSolver) -> SolverResult:
        calls.append(solver)
        if len(calls) % 2:
            raise SolverError("misses its rows")
        return real(solver)

    monkeypatch.setattr(PersistentSolver, "outcome", misses_at_first)
    found = [plan.objective_value for plan in chain_plans(points, "benefit")]
    assert found == pytest.approx(expected, rel=1e-9)
    assert len(calls) == 2 * len(points)
