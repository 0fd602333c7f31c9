"""The gradient through the simulator: it learns, it is the gradient, it stops and goes on like any other run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")

import torch
from stable_baselines3 import PPO

from agents.config import ConfigError, PPOConfig, compiled_of, parse_config
from agents.networks import learned
from agents.networks.checkpoint import Identity, NetworkPolicy
from agents.networks.learned import LearnedPolicy
from agents.pathwise.trainer import Pathwise
from agents.training import environments, train
from agents.training.checkpoints import checkpoint_path, save_model
from agents.training.failures import TrainingError
from agents.training.validation import HeldOut
from agents.vec_env.adapter import GridAIVecEnv
from baselines.rules.single_signal import LocalOnly
from gridai_env.episodes.instance import make_batch
from gridai_env.rollout.run import run_many

SMALL = {
    "algorithm": "pathwise",
    "policy": "set",
    "hidden": [16],
    "num_envs": 16,
    "learning_rate": 0.01,
    "max_grad_norm": 1.0,
    "environment": {"scenario": "two_sites", "horizon_h": 6.0},
}


def settings(**changes: Any) -> PPOConfig:
    return parse_config(SMALL | changes, "test")


def model_of(config: PPOConfig) -> Pathwise:
    model = train.build(config, environments.make_training_env(config, compiled_of(config)))
    assert isinstance(model, Pathwise)
    return model


def mean_benefit_usd(model: Pathwise, config: PPOConfig) -> float:
    compiled = compiled_of(config)
    policy = NetworkPolicy(model.policy, Identity.of(compiled))  # type: ignore[arg-type]
    return float(
        np.mean([t.benefit_usd for t in run_many(policy, make_batch(compiled, range(12)).instances)])
    )


@pytest.mark.parametrize("policy", ["set", "smooth_mlp"])
def test_two_dozen_updates_earn_more(policy: str) -> None:
    config = settings(policy=policy)
    model = model_of(config)
    before = mean_benefit_usd(model, config)
    model.learn(24 * 16 * 6, log_interval=0)
    assert model.num_timesteps == 24 * 16 * 6 and model._n_updates == 24
    assert mean_benefit_usd(model, config) > before + 0.01 * abs(before)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"environment": {"scenario": "microgrid_prosumer", "horizon_h": 6.0}},
        {"environment": {"scenario": "flexible_campus", "horizon_h": 18.0}},
    ],
)
def test_its_gradient_is_the_slope_of_the_return(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Along a random direction of the weights; observations are float32, so the step is not small.

    Numbers lie inside their ranges: from beyond an edge the gradient leads back, though nothing changes there.
    """
    monkeypatch.setattr(learned, "REFUSE", 0.1)
    monkeypatch.setattr(learned, "USED", -0.2)
    monkeypatch.setattr(learned, "SAVES", 0.5)
    config = settings(policy="smooth_mlp", on_device={"dtype": "float64"}, num_envs=4, **changes)
    model = model_of(config)
    env = model.env
    assert isinstance(env, GridAIVecEnv)
    weights = [p for p in model.policy.parameters() if p.requires_grad]
    generator = torch.Generator().manual_seed(3)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in weights]
    state = env.get_state()

    def total() -> torch.Tensor:
        env.set_state(state)
        observation, earned = env.begin(), torch.zeros(4, dtype=torch.float64)
        while env.steps_left().any():
            numbers = model.policy._predict(observation, deterministic=True)
            observation, rewards, _, _ = env.step_batch(numbers)
            earned = earned + rewards
        return earned.sum()

    def moved(by: float) -> float:
        with torch.no_grad():
            for p, d in zip(weights, direction, strict=True):
                p += by * d
            value = float(total())
            for p, d in zip(weights, direction, strict=True):
                p -= by * d
        return value

    slopes = torch.autograd.grad(total(), weights, allow_unused=True)
    found = sum(float((s * d).sum()) for s, d in zip(slopes, direction, strict=True) if s is not None)
    # At a corner of the equations the two sides differ, and the gradient is that of one.
    here, step = moved(0.0), 1e-4
    sides = (moved(step) - here) / step, (here - moved(-step)) / step
    assert min(abs(found - side) for side in sides) <= 0.01 * abs(found)


def test_late_starts_play_the_end_of_whole_episodes() -> None:
    config = settings(pathwise={"last_h": 2.0})
    model = model_of(config)
    model.learn(3 * 16 * 2, log_interval=0)
    assert model._n_updates == 3 and model.observation_space == model_of(settings()).observation_space


def test_files_load_as_ppo(tmp_path: Path) -> None:
    model = model_of(settings())
    model.learn(16 * 6, log_interval=0)
    model.save(tmp_path / "model.zip")
    back = PPO.load(tmp_path / "model.zip", device="cpu")
    assert isinstance(model.env, GridAIVecEnv)
    observation = model.env.reset()[:2]
    wanted, _ = model.predict(observation, deterministic=True)
    assert np.array_equal(back.predict(observation, deterministic=True)[0], wanted)


def weights(model: Any) -> list[torch.Tensor]:
    return [value.clone() for value in model.policy.state_dict().values()]


def test_going_on_from_a_checkpoint_gives_the_same_weights(tmp_path: Path) -> None:
    config = settings(total_steps=5 * 96, checkpoint_every_steps=96)
    whole = model_of(config)
    train.train(whole, config, tmp_path / "whole")
    again = train.resume(
        config,
        environments.make_training_env(config, compiled_of(config)),
        checkpoint_path(tmp_path / "whole", 2 * 96),
    )
    assert again.num_timesteps == 2 * 96
    train.train(again, config, tmp_path / "again")
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(again), strict=True))


def test_its_stage_has_its_name(tmp_path: Path) -> None:
    config = settings(total_steps=96)
    compiled = compiled_of(config)
    held_out = HeldOut.of(run_many(LocalOnly(), environments.held_out_instances(compiled, 2)))
    train.train(model_of(config), config, tmp_path, held_out)
    stages = json.loads((tmp_path / "stages.json").read_text())["stages"]
    assert [(stage["name"], stage["epochs"]) for stage in stages] == [("start", 0), ("pathwise", 1)]


def test_a_return_that_is_no_number_stops_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(total_steps=5 * 96, checkpoint_every_steps=96)
    model, plain, count = model_of(config), GridAIVecEnv.step_batch, iter(range(1000))

    def broken(self: GridAIVecEnv, numbers: torch.Tensor) -> Any:
        observation, rewards, dones, ended = plain(self, numbers)
        return observation, rewards * (np.nan if next(count) >= 13 else 1.0), dones, ended

    monkeypatch.setattr(GridAIVecEnv, "step_batch", broken)
    before = weights(model)
    with pytest.raises(TrainingError, match=r"left the numbers in the update at step 288: train/loss = nan"):
        train.train(model, config, tmp_path)
    assert all(bool(value.isfinite().all()) for value in weights(model))
    assert not all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))


def test_environments_that_carry_no_gradients_are_refused() -> None:
    for algorithm in ("ppo", "device_ppo"):
        other = settings(algorithm=algorithm, rollout_steps=6, batch_size=96)
        env = environments.make_training_env(other, compiled_of(other))
        with pytest.raises(TypeError, match=r"needs a GridAIVecEnv .* autoreset_mode='Disabled'"):
            Pathwise(LearnedPolicy, env)


def test_sites_attend_where_the_settings_say_so() -> None:
    model = model_of(settings(attention=True))
    model.learn(2 * 16 * 6, log_interval=0)
    assert model.policy.judgement.mixing[0].attends is not None  # type: ignore[union-attr,index]


def test_a_set_network_goes_on_in_a_scenario_of_another_size(tmp_path: Path) -> None:
    trained = model_of(settings(policy="set"))
    save_model(trained, tmp_path / "model.zip")
    identity = Identity.of(trained.env.env.compiled).as_dict()
    (tmp_path / "run.json").write_text(json.dumps({"agent": identity}))
    other = {"environment": {"scenario": "microgrid_prosumer", "horizon_h": 6.0}}
    start = {"start_from": str(tmp_path / "model.zip")}
    model, fresh = (
        model_of(settings(policy="set", **other, **start)),
        model_of(settings(policy="set", **other)),
    )
    before, own, found = (one.policy.state_dict() for one in (trained, fresh, model))
    for name, value in before.items():
        if not name.endswith((".scale", ".centre")):
            assert torch.equal(value, found[name]), name
            continue

        # What never changed before (renewables, ...) is seen from now on; jobs were not there at all.
        unseen = before[name.rpartition(".")[0] + ".scale"] == 0.0
        if ".jobs." in name:
            unseen = torch.ones_like(unseen)
        assert torch.equal(found[name][~unseen], value[~unseen]), name
        assert torch.equal(found[name][unseen], own[name][unseen]), name
    renewables = found["judgement.scales.sites.scale"] - before["judgement.scales.sites.scale"]
    assert int((renewables > 0.0).sum()) > 10
    with pytest.raises(ConfigError, match=r"start_from = .*needs a model.zip of the same policy and widths"):
        model_of(settings(policy="smooth_mlp", **other, **start))
    with pytest.raises(ConfigError, match=r"start_from = .*no such file"):
        model_of(settings(policy="set", start_from=str(tmp_path / "none.zip")))


def test_a_set_network_goes_on_in_a_scenario_with_lines_and_power_modes(tmp_path: Path) -> None:
    trained = model_of(settings(policy="set"))
    save_model(trained, tmp_path / "model.zip")
    identity = Identity.of(trained.env.env.compiled).as_dict()
    (tmp_path / "run.json").write_text(json.dumps({"agent": identity}))
    world = {"environment": {"scenario": "flexible_campus", "horizon_h": 24.0}, "pathwise": {"last_h": 12.0}}
    config = settings(policy="set", start_from=str(tmp_path / "model.zip"), **world)
    model = model_of(config)
    before, own = trained.policy.state_dict(), model.policy.state_dict()
    assert len(own["log_std"]) == len(before["log_std"]) + 1
    name = "judgement.site_out.2.weight"
    assert torch.equal(own[name][:3], before[name]) and not own[name][3:].any()

    # The gradient reaches what is new: features of lines, and power modes.
    model.learn(3 * 16 * 12, log_interval=0)
    after = model.policy.state_dict()
    assert bool(after[name][3:].any())
    new = own["judgement.scales.sites.scale"].shape[0] - before["judgement.scales.sites.scale"].shape[0]
    first = after["judgement.site.0.0.weight"][:, -16 - new : -16]
    assert int(first.any(0).sum()) > 10
