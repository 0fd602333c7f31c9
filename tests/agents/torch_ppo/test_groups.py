"""Advantages against a group: those worked out by hand, and runs with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")

import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer

from agents.config import ConfigError, PPOConfig, compiled_of, load_config
from agents.torch_ppo.buffer import DeviceRolloutBuffer
from agents.torch_ppo.groups import GroupRolloutBuffer
from agents.training import environments, train
from agents.training.checkpoints import checkpoint_path
from scripts import train as command

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = ROOT / "configs" / "agents"
ALGORITHMS = ["ppo", "device_ppo"]
GROUPED = {"group": 4, "advantage": "group", "rollout_steps": 4, "batch_size": 16, "total_steps": 256}
CLASSES = pytest.mark.parametrize("cls", [GroupRolloutBuffer, DeviceRolloutBuffer])


def filled(
    cls: type[RolloutBuffer], rewards: np.ndarray, starts: np.ndarray, last: Any, gamma: float, group: int
) -> Any:
    box, (steps, envs) = spaces.Box(-1, 1, (1,), np.float32), rewards.shape
    buffer = cls(steps, box, box, device="cpu", gamma=gamma, n_envs=envs, group=group)  # type: ignore[call-arg]
    buffer.reset()
    for reward, start in zip(rewards, starts[:-1], strict=True):
        none = np.zeros((envs, 1), np.float32)
        buffer.add(none, none, reward, start, torch.full((envs, 1), 7.0), torch.zeros(envs))
    buffer.compute_returns_and_advantage(torch.tensor(last)[:, None], starts[-1])
    return buffer


@CLASSES
def test_advantages_are_those_worked_out_by_hand(cls: type[RolloutBuffer]) -> None:
    # Group 0 is in the middle of an episode all the while, that of group 1 ends after the second step.
    rewards = np.array([[1, 3, 5, 5], [2, 2, 0, 4], [0, 8, 6, 2]], np.float32)
    starts = np.array([[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]], bool)
    buffer = filled(cls, rewards, starts, [4.0, 8.0, 2.0, 2.0], 0.5, 2)
    # Backwards: 0 + 4/2, 8 + 8/2; 2 + 2/2, 2 + 12/2; 1 + 3/2, 3 + 8/2.  Then 6 + 2/2, 2 + 2/2; 0, 4; 5 + 0, 5 + 4/2.
    returns = [[2.5, 7, 5, 7], [3, 8, 0, 4], [2, 12, 7, 3]]
    np.testing.assert_array_equal(buffer.returns, returns)
    wanted = [[-2.25, 2.25, -1, 1], [-2.5, 2.5, -2, 2], [-5, 5, 2, -2]]
    np.testing.assert_array_equal(np.asarray(buffer.advantages), wanted)
    np.testing.assert_array_equal(next(buffer.get()).returns.sum(), np.sum(returns))


@CLASSES
def test_what_the_world_brings_falls_out_and_the_gradient_stays(cls: type[RolloutBuffer]) -> None:
    """One step, reward = noise of the world + 2 a; a ~ N(0, 1): the score-function gradient of the mean is 2."""
    rng, group, envs = np.random.default_rng(0), 16, 16 * 4096
    actions = rng.standard_normal(envs).astype(np.float32)
    world = np.repeat(rng.normal(0.0, 100.0, envs // group), group)
    starts = np.array([[True] * envs] * 2)
    rewards = (world + 2.0 * actions)[None].astype(np.float32)
    advantages = np.asarray(filled(cls, rewards, starts, [0.0] * envs, 1.0, group).advantages)[0]
    assert np.abs(advantages).max() < 15.0  # nothing of the world's 100 is left
    unscaled = np.mean(advantages * actions) / (1.0 - 1.0 / group)
    assert abs(unscaled - 2.0) < 5.0 * 2.0 * np.sqrt(2.0 / envs)


def tiny(algorithm: str, **changes: Any) -> PPOConfig:
    return load_config(CONFIGS / "ppo_tiny.yaml", {"algorithm": algorithm, **GROUPED, **changes})


def env_of(config: PPOConfig) -> Any:
    return environments.make_training_env(config, compiled_of(config))


def weights(model: Any) -> list[np.ndarray]:
    return [value.numpy().copy() for value in model.policy.state_dict().values()]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_runs_in_groups_go_on_to_equal_weights_and_load_into_plain_ppo(
    tmp_path: Path, algorithm: str
) -> None:
    config = tiny(algorithm, **{"on_device.stagger": True, "checkpoint_every_steps": 64})
    model = train.build(config, env_of(config))
    train.train(model, config, tmp_path)
    assert model.rollout_buffer.group == 4
    found = np.asarray(model.rollout_buffer.advantages)
    found = found.reshape(8, 4).T if algorithm == "ppo" else found  # sampling reorders the buffer of arrays
    grouped = found.reshape(4, 2, 4)
    np.testing.assert_allclose(grouped.mean(-1), 0.0, atol=1e-5)
    assert np.abs(grouped).max() > 1e-3

    again = train.resume(config, env_of(config), checkpoint_path(tmp_path, 128))
    assert again.rollout_buffer.group == 4
    train.train(again, config, tmp_path / "again")
    assert all(np.array_equal(x, y) for x, y in zip(weights(model), weights(again), strict=True))

    plain = PPO.load(tmp_path / "model.zip", device="cpu")
    assert type(plain.rollout_buffer) is RolloutBuffer
    assert all(np.array_equal(x, y) for x, y in zip(weights(model), weights(plain), strict=True))

    gae = train.build(tiny(algorithm, advantage="gae"), env_of(config))
    train.train(gae, config, tmp_path / "gae")
    assert not all(np.array_equal(x, y) for x, y in zip(weights(model), weights(gae), strict=True))


def test_observations_are_standardised_over_as_many_worlds_as_without_groups() -> None:
    seen = [train.sample_observations(env_of(tiny("ppo", group=group)), 1.0, 0) for group in (2, 4)]
    assert seen[0].shape == seen[1].shape
    assert [len(np.unique(x[:, :3], axis=0)) for x in seen] == [len(x) for x in seen]


def test_a_run_keeps_its_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--config",
        str(CONFIGS / "ppo_tiny.yaml"),
        "--no-evaluation",
        "--run-dir",
        str(tmp_path / "run"),
    ]
    grouped = [word for key, value in GROUPED.items() for word in (f"--{key}", str(value))]
    assert command.main([*words, *grouped]) == 0
    assert command.main(["--resume", str(tmp_path / "run"), "--group", "8"]) != 0
    assert "group cannot change within a run; start a new one" in capsys.readouterr().err
    assert command.main(["--resume", str(tmp_path / "run"), "--total_steps", "320"]) == 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"group": 3}, "group = 3: must divide num_envs = 8"),
        ({"group": 1}, "group = 1: must be at least 2 for advantage = 'group'"),
        ({"algorithm": "pathwise"}, "group = 4: must be 1 for algorithm = 'pathwise'"),
        ({"advantage": "mean"}, "must be one of 'gae', 'group'"),
    ],
)
def test_bad_groups_are_refused_by_name(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tiny(changes.pop("algorithm", "ppo"), **changes)
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2  # the file, then the fault


def test_the_configuration_differs_from_its_reference_in_groups_alone() -> None:
    mine, reference = (load_config(CONFIGS / f"{name}.yaml") for name in ("ppo_groups", "ppo_mlp"))
    assert (mine.group, mine.advantage) == (16, "group")
    assert mine.model_copy(update={"group": 1, "advantage": "gae"}) == reference
