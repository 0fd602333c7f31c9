"""The optimiser against brute force: all yes/no choices with a linear program each, all corner actions."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from baselines.optimum.milp import solve
from gridai_env.episodes.instance import Instance
from gridai_env.world.actions import Layout
from tests.support import plain_lp
from tests.support.contest import play, replay
from tests.support.strategies import features, random_instance
from tests.support.tiny import BATTERY, GENERATOR, action_of, tiny

MOST_PROGRAMS = 100
WORLDS = 45


def small_worlds(first_seed: int, wanted: int) -> list[tuple[int, Instance]]:
    """Random worlds with few enough choices to try them all."""
    found: list[tuple[int, Instance]] = []
    for seed in itertools.count(first_seed):
        instance = random_instance(seed, short_days=True)
        if plain_lp.count(instance) <= MOST_PROGRAMS and instance.steps <= 4:
            found.append((seed, instance))
        if len(found) == wanted:
            return found
    raise AssertionError


def check(seed: int, instance: Instance) -> None:
    plan = solve(instance, mip_gap=1e-9, threads=1)
    best = plain_lp.optimum(instance)
    scale = max(float(replay(instance, plan.flows).scale_usd[0]), 1.0)
    assert abs(plan.objective_value - best) <= 1e-6 * scale, f"{seed}: {plan.objective_value} against {best}"
    assert plan.bound >= best - 1e-6 * scale, seed


def test_optimum_equals_the_best_of_all_choices() -> None:
    seen: Counter[str] = Counter()
    programs = 0
    for seed, instance in small_worlds(20_000, WORLDS):
        check(seed, instance)
        seen.update(features(instance))
        programs += plain_lp.count(instance)
    for name in (
        "jobs",
        "battery",
        "minimum load",
        "carbon budget",
        "demand charge",
        "negative price",
        "sessions",
        "lines",
        "demand response",
        "baseline",
        "power modes",
    ):
        assert seen[name] >= 3, f"{name} in {seen[name]} of {WORLDS} worlds"
    assert programs > 5 * WORLDS


@pytest.mark.slow
def test_optimum_equals_the_best_of_all_choices_in_many_worlds() -> None:
    for seed, instance in small_worlds(50_000, 800):
        check(seed, instance)


def corner_sequences(instance: Instance, moves: list[np.ndarray]) -> np.ndarray:
    """All sequences of the given actions [T,P,A]."""
    table = np.stack(moves)
    index = np.array(list(itertools.product(range(len(moves)), repeat=instance.steps)))
    return np.swapaxes(table[index], 0, 1)


@pytest.mark.parametrize("price", [(20.0, 90.0), (90.0, 20.0), (10.0, 200.0), (0.0, 120.0), (40.0, 40.0)])
def test_corner_actions_reach_the_optimum_where_nothing_binds(price: tuple[float, float]) -> None:
    """With room for everything the optimum is a sequence of corner actions, found by trying all."""
    room = {"grid": {"export_limit_mw": 90.0}, "gpus": 4000.0}
    unit = BATTERY | {
        "capacity_mwh": 16.0,
        "initial_share": 0.5,
        "power_mw": 2.0,
        "discharge_efficiency": 0.8,
    }
    buy = np.array([[price[0], 50.0], [price[1], 45.0]])
    world = tiny(
        steps=2,
        sites=(room | {"battery": unit}, room | {"latitude": 50.1}),
        classes=({"wait_h": 1.0, "revenue_usd_per_gpuh": 0.03, "drop_usd_per_gpuh": 0.03},),
        jobs=({"gpus": 500.0, "duration_h": 1.0, "release_h": 0.0, "deadline_h": 2.0, "value_usd": 40.0},),
        exogenous={"arrivals_gpuh": 300.0, "buy_usd_per_mwh": buy},
    )
    routes = ([1, -1, 0, -1], [-1, 1, 0, -1], [1, -1, 1, -1], [1, -1, -1, 1])
    starts = ([1, -1, -1], [-1, 1, -1], [-1, -1, 1])
    moves = [
        action_of(world, routing=np.array([[route]]), battery=np.array([power, 0.0]), jobs=np.array([start]))
        for route, power, start in itertools.product(routes, (-1.0, 0.0, 1.0), starts)
    ]
    tries = play(world, corner_sequences(world, moves)).benefit_usd
    plan = solve(world, mip_gap=1e-9, threads=1)
    assert tries.max() == pytest.approx(plan.objective_value, rel=1e-9, abs=1e-7)
    assert len(moves[0]) == Layout(world.compiled.shape).size


def test_burning_energy_ahead_of_a_paid_hour_is_not_open_to_the_plan() -> None:
    """A full battery may not be emptied against itself to be paid for filling it later."""
    unit = BATTERY | {"initial_share": 1.0, "wear_usd_per_mwh": 0.5}
    world = tiny(
        steps=3,
        sites=({"battery": unit, "idle_kw_per_gpu": 0.0},),
        exogenous={
            "arrivals_gpuh": 0.0,
            "available_gpus": 0.0,
            "buy_usd_per_mwh": np.array([[200.0], [150.0], [-60.0]]),
        },
    )
    plan = solve(world, mip_gap=1e-9, threads=1)
    assert plan.objective_value == pytest.approx(0.0, abs=1e-9)
    assert np.minimum(plan.flows.charge_mw, plan.flows.discharge_mw).max() == 0.0


def test_burning_energy_to_keep_a_slow_generator_up_is_not_open_to_the_plan() -> None:
    """No import in the second step: the generator may run ahead only where its power goes somewhere."""
    unit = BATTERY | {"initial_share": 1.0, "wear_usd_per_mwh": 0.1}
    slow = GENERATOR | {"capacity_mw": 2.0, "ramp_mw_per_h": 0.5, "fuel_usd_per_mwh": 1.0}
    world = tiny(
        steps=2,
        sites=(
            {"battery": unit | {"power_mw": 0.2}, "generator": slow, "gpus": 2000.0, "idle_kw_per_gpu": 0.0},
        ),
        exogenous={
            "arrivals_gpuh": np.array([0.0, 1500.0]).reshape(-1, 1, 1),
            "buy_usd_per_mwh": 80.0,
            "import_limit_mw": np.array([[9.0], [0.0]]),
        },
    )
    plan = solve(world, mip_gap=1e-9, threads=1)
    assert np.minimum(plan.flows.charge_mw, plan.flows.discharge_mw).max() == 0.0
    scale = replay(world, plan.flows).scale_usd[0]
    assert play(world, plan.actions[:, None].astype(float)).benefit_usd[0] == pytest.approx(
        plan.objective_value, abs=1e-6 * scale
    )
    assert plain_lp.optimum(world) == pytest.approx(plan.objective_value, abs=1e-6 * scale)
