"""Windows with a learned value at their end: the same gradient where the value is right, and runs that go on."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")

import torch
import yaml
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from agents.config import ConfigError, PPOConfig, compiled_of
from agents.pathwise.trainer import Pathwise
from agents.training import environments, train
from agents.training.checkpoints import checkpoint_path, read_training_state
from agents.vec_env.adapter import GridAIVecEnv
from gridai_env.arrays.ops import smooth_decisions
from gridai_env.scenario.errors import ScenarioError
from gridai_env.scenario.load import load_scenario
from tests.agents.pathwise.test_trainer import (
    mean_benefit_usd,
    model_of,
    settings,
    weights,
)

BATCH = 16


class Nothing(BaseCallback):
    def _on_step(self) -> bool:
        return True


def play(model: Pathwise) -> torch.Tensor:
    """Return the sum over episodes of what one update would raise."""
    with smooth_decisions():
        callback = Nothing()
        callback.init_callback(model)
        played = model._play(callback)
    assert played is not None
    return (played[0] * played[1]).sum()


def slopes(model: Pathwise) -> list[torch.Tensor]:
    own = list(model.policy.parameters())
    found = torch.autograd.grad(play(model), own, allow_unused=True)
    return [torch.zeros_like(p) if s is None else s for p, s in zip(own, found, strict=True)]


def answer_exactly(model: Pathwise, config: PPOConfig) -> None:
    """Let the value be what the same weights earn from here on; their own slope there belongs to the next window."""
    fixed = copy.deepcopy(model.policy).requires_grad_(False)
    other = environments.make_training_env(config, compiled_of(config))
    assert isinstance(other, GridAIVecEnv) and isinstance(model.env, GridAIVecEnv) and model.rest_value

    def rest(observation: torch.Tensor) -> torch.Tensor:
        other.set_state(model.env.get_state())
        other.env.simulator.state = model.env.env.simulator.state  # with its history
        earned = torch.zeros(BATCH)
        while other.steps_left().any():
            numbers = fixed._predict(observation, deterministic=True)
            observation, rewards, _, _ = other.step_batch(numbers)
            earned = earned + rewards
        return earned

    model.rest_value.forward = rest  # type: ignore[method-assign]


def test_windows_with_the_exact_value_have_the_gradient_of_whole_episodes() -> None:
    config = settings(pathwise={"window_h": 4.0})
    whole, model = model_of(settings()), model_of(config)
    for one in (whole, model):
        one.env.seed(7)
        one._setup_learn(100, None)
        one.env.seed(8)
    wanted = slopes(whole)
    answer_exactly(model, config)
    first, left = slopes(model), model._left()
    last = slopes(model)
    assert left == 2 and model._left() == 0  # the last window is shorter
    for a, b, c in zip(wanted, first, last, strict=True):
        assert torch.allclose(a, b + c, rtol=1e-3, atol=1e-4 * float(a.abs().max()))
    # Without the value, the first window does not see what its actions cost later.
    assert any(float((a - c).abs().max()) > 0.01 for a, c in zip(wanted, last, strict=True))


def test_a_window_as_long_as_the_episode_is_the_whole() -> None:
    found = []
    for pathwise in ({}, {"window_h": 6.0}):
        model = model_of(settings(pathwise=pathwise))
        torch.manual_seed(0)
        model.learn(3 * 96, log_interval=0)
        found.append(weights(model))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_the_slope_of_the_value_reaches_the_actions_through_the_state() -> None:
    model = model_of(settings(pathwise={"window_h": 2.0}))
    model.learn(12 * 32, log_interval=0)
    value = model.rest_value
    assert value is not None and not value.windows[-1][3]  # 12 windows: the last one ended
    model._last_obs = model.env.begin()  # type: ignore[assignment]
    observation = model._last_obs
    for _ in range(2):
        numbers = model.policy._predict(observation, deterministic=True)
        observation, _, _, _ = model.env.step_batch(numbers)
    reached = torch.autograd.grad(
        value(observation).sum(), list(model.policy.parameters()), allow_unused=True
    )
    assert any(slope is not None and float(slope.abs().max()) > 0.0 for slope in reached)


def test_values_learn_what_is_left_and_are_zero_at_the_end() -> None:
    """Each step earns 1.0 with 3 left: states are worth 3, 2, 1; the last one nothing, whatever the network says."""
    model = model_of(
        settings(pathwise={"window_h": 3.0}, environment={"scenario": "two_sites", "horizon_h": 3.0})
    )
    value = model.rest_value
    assert value is not None
    model.env.begin()
    seen = []
    for _ in range(3):
        observation, *_ = model.env.step_batch(torch.zeros(BATCH, model.action_space.shape[0]))  # type: ignore[index]
        seen.append(observation.detach())
    window = torch.stack([torch.as_tensor(model.env.reset()), *seen])
    for _ in range(120):
        value.learn(window, torch.ones(3, BATCH), torch.ones(BATCH), True)
    with torch.no_grad():
        found = torch.stack([value(observation).mean() for observation in window[:3]])
    assert torch.allclose(found, torch.tensor([3.0, 2.0, 1.0]), atol=0.1)


@pytest.mark.slow  # gradients of windows and what values learn are checked above
@pytest.mark.parametrize("pathwise", [{"window_h": 2.0}, {"window_h": 2.0, "last_h": 4.0}], ids=str)
def test_it_learns(pathwise: dict[str, Any]) -> None:
    config = settings(pathwise=pathwise)
    model = model_of(config)
    before = mean_benefit_usd(model, config)
    model.learn(24 * 192, log_interval=0)
    assert model._n_updates >= 96
    assert mean_benefit_usd(model, config) > before + 0.01 * abs(before)


def test_going_on_in_the_middle_of_an_episode_gives_the_same_weights(tmp_path: Path) -> None:
    config = settings(total_steps=7 * 64, checkpoint_every_steps=64, pathwise={"window_h": 4.0})
    whole = model_of(config)
    train.train(whole, config, tmp_path / "whole")
    middle = checkpoint_path(tmp_path / "whole", 96 + 64)
    assert read_training_state(middle)["env"]["env"]["simulator"]["t"].tolist() == [4] * BATCH
    env = environments.make_training_env(config, compiled_of(config))
    again = train.resume(config, env, middle)
    train.train(again, config, tmp_path / "again")
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(again), strict=True))
    for a, b in zip(whole.rest_value.parameters(), again.rest_value.parameters(), strict=True):  # type: ignore[attr-defined,union-attr]
        assert torch.equal(a, b)
    PPO.load(middle, device="cpu")


@pytest.mark.parametrize("key", ["last_h", "window_h"])
def test_more_hours_than_an_episode_has_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^pathwise\.{key} = 7: must be in \(0, 6\], the hours"):
        model_of(settings(pathwise={key: 7.0}))


def test_a_network_that_does_not_show_its_items_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^pathwise\.window_h: needs policy = 'set'"):
        model_of(settings(policy="mlp", pathwise={"window_h": 2.0}))


def test_episodes_of_the_host_and_of_files_work(data_dir: Path) -> None:
    of_files = {"traces": str(data_dir / "panel" / "hourly_2021_2023.parquet"), "days": "all"}
    for changes in (
        {"on_device": {"episodes": "host"}},
        {"environment": {"scenario": "two_sites", "horizon_h": 6.0, **of_files}},
    ):
        model = model_of(settings(pathwise={"window_h": 4.0}, **changes))
        before = weights(model)
        model.learn(2 * 96, log_interval=0)
        assert isinstance(model.env, GridAIVecEnv) and model.env.env.episodes == "host"
        assert model._n_updates == 4
        assert not all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))


def test_where_jobs_are_all_the_work_there_is_it_learns_and_without_regions_it_says_so(
    tmp_path: Path,
) -> None:
    scenario = load_scenario("microgrid_prosumer", horizon_h=12.0).model_dump(mode="json")
    scenario["regions"] = [region | {"mean_gpus": 1e-6} for region in scenario["regions"]]
    for regions, goes in ((scenario["regions"], True), ([], False)):
        file = tmp_path / f"{goes}.yaml"
        file.write_text(yaml.safe_dump(scenario | {"regions": regions}))
        config = settings(environment={"scenario": str(file), "days": "all"}, pathwise={"window_h": 4.0})
        if not goes:
            with pytest.raises(ScenarioError, match=r"regions = \[\]: must be a list with at least one"):
                model_of(config)
            continue
        model = model_of(config)
        model.learn(16 * 12, log_interval=0)
        assert model._n_updates == 3
        assert all(bool(value.isfinite().all()) for value in weights(model))


def test_a_run_that_a_callback_stops_in_a_window_can_go_on() -> None:
    class StopOnce(BaseCallback):
        def _on_step(self) -> bool:
            return self.n_calls != 5

    model = model_of(settings(pathwise={"window_h": 4.0}))
    model.learn(6 * 96, StopOnce(), log_interval=0)
    assert model.num_timesteps == 5 * BATCH
    model.learn(96, reset_num_timesteps=False, log_interval=0)
    assert model._n_updates == 3
