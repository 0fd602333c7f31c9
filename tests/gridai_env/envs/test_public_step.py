"""Plans and rules through what users call: the registered environments, their `step`, and the one judge."""

from __future__ import annotations

from functools import cache

import gymnasium as gym
import numpy as np
import pytest

import gridai_env
from baselines.optimum.milp import Plan, solve
from baselines.rules.registry import REGISTRY
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.run import run
from tests.support.strategies import random_instance

TOLERANCE = 1e-6
IDS = {
    "gridai/TwoSites-v2": 24.0,
    "gridai/MicrogridProsumer-v2": 12.0,
    "gridai/FourMarkets-v2": 12.0,
    "gridai/EnergyGeography-v2": 4.0,
    "gridai/Global-v2": 4.0,
}


def earned(env: gym.Env, instance: Instance, plan: Plan) -> tuple[float, float, dict[str, float]]:  # type: ignore[type-arg]
    """Benefit from the rewards, the sum of absolute terms, and the sum of each term, of a plan's actions."""
    env.reset(seed=0, options={"instance": instance})
    total, terms, scale = 0.0, {}, 0.0
    for t, action in enumerate(plan.actions):
        assert env.action_space.contains(action)
        _, reward, terminated, truncated, info = env.step(action)
        total += float(reward) * instance.scenario.reward_scale_usd
        for key, value in info.items():
            if key.startswith("terms/"):
                terms[key] = terms.get(key, 0.0) + value
                scale += abs(value)
        assert not truncated and terminated == (t == instance.steps - 1)
    return total, scale, terms


@pytest.mark.parametrize("id_", IDS)
def test_a_plan_earns_its_objective_in_every_shipped_environment(id_: str) -> None:
    env = gym.make(id_, horizon_h=IDS[id_])
    env.reset(seed=21)
    instance = env.unwrapped.instance
    plan = solve(instance, mip_gap=1e-3, time_limit_s=60, threads=1)
    total, scale, terms = earned(env, instance, plan)
    assert abs(total - plan.objective_value) <= TOLERANCE * scale
    assert abs(sum(terms.values()) - total) <= 1e-9 * scale
    assert total <= plan.bound + TOLERANCE * scale
    env.close()


def test_the_path_of_huge_programs_earns_its_objective_with_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest environment long enough to keep jobs, solved the way its whole week is."""
    monkeypatch.setattr("baselines.optimum.relax_and_round.HUGE_ROWS", 1000)
    env = gym.make("gridai/Global-v2", horizon_h=40.0)
    env.reset(seed=21)
    instance = env.unwrapped.instance
    assert instance.compiled.job_names == ("monday-a", "monday-b")
    plan = solve(instance, mip_gap=1e-2, time_limit_s=300, threads=1)
    assert plan.rows > 1000 and plan.flows.started.sum() >= 1.0
    total, scale, terms = earned(env, instance, plan)
    assert abs(total - plan.objective_value) <= TOLERANCE * scale
    assert terms["terms/job_value_usd"] > 0.0
    assert total <= plan.bound + TOLERANCE * scale
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("id_", IDS)
def test_a_plan_earns_its_objective_over_the_whole_horizon(id_: str) -> None:
    env = gym.make(id_)
    env.reset(seed=3)
    instance = env.unwrapped.instance
    plan = solve(instance, mip_gap=1e-2, time_limit_s=300, threads=1)
    total, scale, _ = earned(env, instance, plan)
    assert abs(total - plan.objective_value) <= TOLERANCE * scale
    env.close()


def test_plans_of_random_worlds_through_the_custom_environment() -> None:
    for seed in range(30_000, 30_040):
        instance = random_instance(seed)
        plan = solve(instance, mip_gap=1e-9, threads=1)
        env = gym.make("gridai/Custom-v2", instance=instance)
        total, scale, _ = earned(env, instance, plan)
        assert abs(total - plan.objective_value) <= TOLERANCE * max(scale, 1.0), seed
        judged = run(plan, instance)
        assert abs(judged.benefit_usd - total) <= 1e-9 * max(scale, 1.0), seed
        by_flows = run(plan, instance, replay="flows")
        assert abs(by_flows.benefit_usd - plan.objective_value) <= 1e-9 * max(scale, 1.0), seed


@pytest.mark.parametrize("make", REGISTRY.values(), ids=REGISTRY)
def test_no_rule_beats_the_bound(make: type) -> None:
    for seed in range(31_000, 31_040):
        plan = _plan(seed)
        played = run(make(), plan.instance, seed=seed)
        scale = sum(float(np.abs(value).sum()) for value in played.terms.values())
        assert played.benefit_usd <= plan.bound + TOLERANCE * max(scale, 1.0), f"{seed}: {make.__name__}"


@cache
def _plan(seed: int) -> Plan:
    return solve(random_instance(seed), mip_gap=1e-9, threads=1)


def test_the_names_that_others_rely_on() -> None:
    for name in ("make_instance", "load_scenario", "load_instance"):
        assert callable(getattr(gridai_env, name))
