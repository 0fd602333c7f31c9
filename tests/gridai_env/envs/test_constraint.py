"""The quantity of a constraint is that of `info`, and contracts have no part in import above lines."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from baselines.rules.single_signal import LocalOnly
from gridai_env.envs.env import GridAIEnv
from gridai_env.episodes.instance import make_instance
from gridai_env.rollout.run import run
from gridai_env.scenario.load import load_scenario
from gridai_env.scenario.spec import Scenario
from tests.support.small_scenario import SMALL

CONTRACT: dict[str, Any] = {"name": "clean", "kind": "matching", "wind_mw": 0.01, "price_usd_per_mwh": 5.0}
HARD: dict[str, Any] = {
    "name": "hard", "kind": "connection", "mw": 0.0, "hard": True, "calls": {"per_week": 7, "start_h": [0.0, 23.0]}
}  # fmt: skip
TIER: dict[str, Any] = {"name": "tier", "kind": "tier", "mw": 0.2, "price_usd_per_mwh": 20.0}


def world(quantity: str = "line_excess_mwh", **keys: Any) -> Scenario:
    """The small world: a contract and a hard line in the north, a contract and a tier in the south."""
    north, south = SMALL["sites"]
    sites = [{**north, "lines": [CONTRACT, HARD]}, {**south, "lines": [CONTRACT, TIER]}]
    constraint = {"quantity": quantity, "budget": 1.0}
    return load_scenario({**SMALL, "jobs": [], "sites": sites, "constraint": constraint} | keys)


def test_cost_is_import_above_lines_without_contracts_and_hard_lines() -> None:
    instance = make_instance(world(), seed=5)
    trajectory = run(LocalOnly(), instance)
    by_slot_mwh = instance.params.dt_h * trajectory.flows.line_excess_mw.sum(0)
    assert (by_slot_mwh[0] > 0.1).all()  # unmatched
    tier_mwh = float(by_slot_mwh[1, 1])
    shed_mwh = float(instance.params.dt_h * trajectory.flows.shed_mw.sum())
    assert tier_mwh > 0.1 and shed_mwh > 0.1
    metrics = trajectory.metrics
    assert metrics["line_excess_mwh"] == pytest.approx(tier_mwh) == metrics["line_excess_mwh/south/tier"]
    assert metrics["unmatched_mwh"] == pytest.approx(float(by_slot_mwh[0].sum()))

    env = GridAIEnv(world())
    env.reset(options={"instance": instance})
    above, cost = [], []
    for _ in range(instance.steps):
        info = env.step(np.zeros(env.action_space.shape, dtype=np.float32))[4]  # everything at home
        above.append(info["line_excess_mwh"])
        cost.append(info["cost"])
    assert cost == above and sum(above) == info["episode/line_excess_mwh"] > 0.1


@pytest.mark.parametrize("quantity", ["line_excess_mwh", "carbon_excess_kg", "dropped_gpuh"])
@pytest.mark.parametrize("options", [{}, {"device": "cpu"}], ids=["numpy", "torch"])
def test_cost_is_the_quantity_in_every_batch(quantity: str, options: dict[str, Any]) -> None:
    if options:
        pytest.importorskip("torch", reason="needs the extra 'rl'")
    kwargs = {"scenario": world(quantity, carbon_budget_kg=100.0), "vectorization_mode": "vector_entry_point"}
    envs = gym.make_vec("gridai/Custom-v2", num_envs=3, **kwargs, **options)
    envs.reset(seed=0)
    envs.action_space.seed(0)
    for _ in range(6):
        infos = envs.step(envs.action_space.sample())[4]
        assert np.asarray(infos["cost"]) == pytest.approx(np.asarray(infos[quantity]))
    assert np.asarray(infos[f"episode/{quantity}"]).max() > 0.0
