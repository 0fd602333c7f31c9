"""What helps the agent to learn sooner: shared routing, costs compared, a charge on drops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")

import torch

from agents import config as config_of
from agents.config import PPOConfig, load_config
from agents.networks.checkpoint import load_model
from agents.networks.mlp import CostFeatures
from agents.training import environments, train
from agents.vec_env.actions import ActiveActions
from agents.vec_env.adapter import GridAIVecEnv
from gridai_env.envs.action_space import home_action
from gridai_env.envs.vector_env import GridAIVectorEnv
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.load import load_scenario, scenario_names
from gridai_env.world.actions import Layout

ROOT = Path(__file__).resolve().parents[3]


def compiled_of(name: str) -> Compiled:
    return compile_scenario(load_scenario(name, horizon_h=24.0))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("refuse", [False, True])
@pytest.mark.parametrize("name", scenario_names())
def test_the_agent_starts_at_home(name: str, refuse: bool, shared: bool) -> None:
    compiled = compiled_of(name)
    actions = ActiveActions.of(compiled, refuse, shared)
    np.testing.assert_array_equal(actions.expand(actions.start), actions.default)
    home = home_action(compiled, refuse=-0.5 if refuse else -1.0)
    np.testing.assert_array_equal(actions.default, home)
    assert (actions.size < len(actions.index)) == shared
    again = ActiveActions.read(actions.as_dict())
    for field in actions.as_dict():
        np.testing.assert_array_equal(getattr(again, field), getattr(actions, field))


def test_shared_routing_moves_all_regions_to_any_site() -> None:
    compiled = compiled_of("four_markets")
    actions, layout = ActiveActions.of(compiled, False, True), Layout(compiled.shape)
    sites, row = compiled.shape.sites, compiled.row_names.index("batch/anywhere")
    for wanted in range(sites):
        number = np.full(actions.size, -1.0, dtype=np.float32)
        entry = layout.split(np.arange(layout.size, dtype=float))["routing"][0, row, wanted]
        number[actions.source[actions.index == int(entry)]] = 1.0
        routing = layout.split(actions.expand(number).astype(float))["routing"][:, row, :sites]
        np.testing.assert_array_equal(routing, np.tile(2.0 * np.eye(sites)[wanted] - 1.0, (len(routing), 1)))


@pytest.mark.parametrize("name", scenario_names())
def test_cost_features_are_differences_of_costs_in_units(name: str) -> None:
    compiled = compiled_of(name)
    layout = ObservationLayout(compiled)
    env = GridAIVectorEnv(2, scenario=compiled.scenario, flat_observations=True)
    observation, _ = env.reset(seed=5)
    units = layout.physical(observation)
    signal = f"carbon_{compiled.scenario.carbon_signal}_kg_per_mwh"
    price = np.concatenate([units["buy_usd_per_mwh"][:, None], units["forecast_buy_usd_per_mwh"]], axis=1)
    carbon = np.concatenate([units[signal][:, None], units["forecast_carbon_kg_per_mwh"]], axis=1)
    per_kg = compiled.scenario.carbon_price_usd_per_t / 1000.0
    cost = (price + per_kg * carbon) * units["pue"][:, None] / 100.0
    least = cost.min(2)
    parts = [cost - cost.mean(2, keepdims=True), cost - cost.mean(1, keepdims=True), least - least[:, :1]]
    layer = CostFeatures(**CostFeatures.places(compiled))
    found = layer(torch.as_tensor(observation)).numpy()
    assert found.shape == (2, layer.size)
    np.testing.assert_allclose(found, np.concatenate([p.reshape(2, -1) for p in parts], axis=1), atol=2e-5)


def weekly(**changes: object) -> PPOConfig:
    small = {"environment.horizon_h": 12.0, "num_envs": 4, "rollout_steps": 12, "batch_size": 48}
    return load_config(ROOT / "configs" / "agents" / "ppo_week.yaml", small | changes)


def test_a_saved_network_acts_as_before(tmp_path: Path) -> None:
    config = weekly()
    compiled = config_of.compiled_of(config)
    env = environments.make_training_env(config, compiled)
    model = train.build(config, env)
    model.save(tmp_path / "model.zip")
    observation = env.reset()
    loaded = load_model(tmp_path / "model.zip", "cpu")
    before, after = (each.predict(observation, deterministic=True)[0] for each in (model, loaded))
    np.testing.assert_array_equal(before, after)
    assert loaded.policy.actions.as_dict() == env.actions.as_dict()  # type: ignore[union-attr]


def test_dropped_work_is_charged_also_at_the_end() -> None:
    rewards, dropped = [], np.zeros(0)
    for charge in (0.0, 5.0):
        env = GridAIVectorEnv(2, scenario="two_sites", horizon_h=6.0, flat_observations=True)
        venv = GridAIVecEnv(env, ActiveActions.of(env.compiled, True), drop_charge_usd_per_gpuh=charge)
        venv.seed(3)
        venv.reset()
        refuse_all = np.ones((2, venv.actions.size), dtype=np.float32)
        steps = [venv.step(refuse_all) for _ in range(6)]
        rewards.append(np.sum([step[1] for step in steps], axis=0))
        assert steps[-1][2].all()
        dropped = np.array([info["dropped_gpuh"] for info in steps[-1][3]])
    assert (dropped > 0.0).all()
    np.testing.assert_allclose(
        rewards[0] - rewards[1], 5.0 * dropped / env.compiled.scenario.reward_scale_usd, rtol=1e-5
    )
