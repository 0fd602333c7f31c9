"""Training on tensors: the buffer, the update and whole runs are those of Stable-Baselines3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")

import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import Logger
from torch.distributions import Distribution

from agents.config import ConfigError, PPOConfig, compiled_of, load_config
from agents.networks.checkpoint import Identity, load_model, load_policy
from agents.networks.mlp import Standardise
from agents.torch_ppo.buffer import DeviceRolloutBuffer
from agents.torch_ppo.ppo import DevicePPO, unchecked_distributions
from agents.training import environments, train
from agents.vec_env import at_home as device_reference
from agents.vec_env.actions import ActiveActions
from agents.vec_env.adapter import GridAIVecEnv, read_ends
from agents.vec_env.at_home import AtHome
from gridai_env.envs.torch.vector_env import GridAITorchVectorEnv
from gridai_env.envs.vector_env import GridAIVectorEnv
from gridai_env.observation.forecast_memory import ForecastMemory
from gridai_env.rollout.run import run_many
from tests.support.device_watch import DeviceWatch

ROOT = Path(__file__).resolve().parents[3]
TINY = ROOT / "configs" / "agents" / "ppo_tiny.yaml"
# The same episodes as on NumPy, in the same precision.
EXACT = {"on_device.episodes": "host", "on_device.dtype": "float64"}


def tiny(algorithm: str = "device_ppo", **changes: Any) -> PPOConfig:
    return load_config(TINY, {"algorithm": algorithm} | changes)


def built(config: PPOConfig) -> PPO:
    return train.build(config, environments.make_training_env(config, compiled_of(config)))


def weights(model: PPO) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in model.policy.state_dict().items()}


@pytest.fixture
def shuffled_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """The buffer on tensors draws its order from NumPy, as that of Stable-Baselines3 does."""
    draw = np.random.permutation
    monkeypatch.setattr(
        DeviceRolloutBuffer,
        "permutation",
        lambda self, count: torch.as_tensor(draw(count), device=self.device),
    )


# Buffer -----------------------------------------------------------------------------------------------------


def filled(cls: type[RolloutBuffer], steps: int = 7, envs: int = 5) -> RolloutBuffer:
    """A buffer with random transitions, the same for every class."""
    space, act = spaces.Box(-9, 9, (4,), np.float32), spaces.Box(-1, 1, (3,), np.float32)
    buffer = cls(steps, space, act, device="cpu", gae_lambda=0.9, gamma=0.97, n_envs=envs)
    rng = np.random.default_rng(0)
    for _ in range(2):  # the second filling counts
        buffer.reset()
        for _ in range(steps):
            buffer.add(
                rng.standard_normal((envs, 4)).astype(np.float32),
                rng.standard_normal((envs, 3)).astype(np.float32),
                rng.standard_normal(envs).astype(np.float32),
                rng.random(envs) < 0.2,
                torch.as_tensor(rng.standard_normal((envs, 1)).astype(np.float32)),
                torch.as_tensor(rng.standard_normal(envs).astype(np.float32)),
            )
    last = torch.as_tensor(rng.standard_normal((envs, 1)).astype(np.float32))
    buffer.compute_returns_and_advantage(last, rng.random(envs) < 0.5)
    return buffer


def test_advantages_and_returns_are_bit_for_bit_those_of_sb3() -> None:
    mine, theirs = filled(DeviceRolloutBuffer), filled(RolloutBuffer)
    np.testing.assert_array_equal(np.asarray(mine.advantages), theirs.advantages)
    np.testing.assert_array_equal(mine.returns, theirs.returns)
    np.testing.assert_array_equal(mine.values, theirs.values)


@pytest.mark.parametrize("size", [8, 35, None])
def test_samples_come_in_the_same_order(shuffled_alike: None, size: int | None) -> None:
    found = []
    for cls in (DeviceRolloutBuffer, RolloutBuffer):
        buffer = filled(cls)
        np.random.seed(4)  # noqa: NPY002
        found.append([list(batch) for _ in range(2) for batch in buffer.get(size)])
    assert len(found[0]) == len(found[1])
    for mine, theirs in zip(*found, strict=True):
        for one, other in zip(mine[:6], theirs[:6], strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_every_transition_is_drawn_once_and_memory_is_taken_once() -> None:
    buffer = filled(DeviceRolloutBuffer)
    assert isinstance(buffer, DeviceRolloutBuffer)
    place = buffer.observations.data_ptr()
    drawn = torch.cat([batch.observations for batch in buffer.get(10)])
    everything = buffer.observations.flatten(0, 1)
    assert torch.equal(drawn.sort(0).values, everything.sort(0).values)
    buffer.reset()
    assert buffer.observations.data_ptr() == place
    with pytest.raises(AssertionError, match="not complete"):
        next(buffer.get(10))
    with pytest.raises(TypeError, match="must be boxes"):
        DeviceRolloutBuffer(4, spaces.Box(-1, 1, (2,)), spaces.Discrete(3), device="cpu")


# Update -----------------------------------------------------------------------------------------------------


class Recorded(Logger):
    """Keeps what is recorded."""

    def __init__(self) -> None:
        super().__init__(None, [])
        self.seen: dict[str, float] = {}

    def record(self, key: str, value: Any, exclude: Any = None) -> None:
        super().record(key, value, exclude)
        self.seen[key] = value


@pytest.mark.parametrize("target_kl", [None, 1e-4])
@pytest.mark.parametrize("clip_values", [None, 0.1])
def test_runs_on_equal_episodes_are_equal(
    shuffled_alike: None, target_kl: float | None, clip_values: float | None
) -> None:
    """Rollouts, bootstraps, advantages, updates, schedules: three updates of PPO, on arrays and on tensors."""
    models, loggers = [], []
    for algorithm in ("ppo", "device_ppo"):
        config = tiny(algorithm, target_kl=target_kl, rollout_steps=9, batch_size=24, gamma=0.9, **EXACT)
        model = built(config)
        if clip_values is not None:
            model.clip_range_vf = lambda _: clip_values  # type: ignore[assignment]
        loggers.append(Recorded())
        model.set_logger(loggers[-1])
        models.append(model.learn(3 * 72))
    for name, value in weights(models[0]).items():
        np.testing.assert_allclose(weights(models[1])[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    for name, number in loggers[0].seen.items():
        if not name.startswith("time/"):
            np.testing.assert_allclose(loggers[1].seen[name], number, rtol=2e-3, atol=1e-6, err_msg=name)
    assert loggers[0].seen.keys() == loggers[1].seen.keys()
    assert models[0]._n_updates == models[1]._n_updates
    infos = [[(info["r"], info["l"]) for info in model.ep_info_buffer] for model in models]
    np.testing.assert_allclose(infos[0], infos[1], rtol=1e-5)


def test_what_the_first_layer_gives_is_kept_in_place_of_observations(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is worked out while acting, not again in every pass, and the same is learned."""
    calls: list[int] = []
    forward = Standardise.forward

    def counted(self: Standardise, observations: torch.Tensor) -> torch.Tensor:
        calls[-1] += 1
        return forward(self, observations)

    monkeypatch.setattr(Standardise, "forward", counted)
    learned = []
    for keeps in (True, False):
        model = built(tiny(rollout_steps=9, batch_size=24, gamma=0.9))
        assert isinstance(model, DevicePPO) and isinstance(model.rollout_buffer, DeviceRolloutBuffer)
        size = model.policy.features_dim
        assert model.rollout_buffer.observations.shape == (9, 8, size)
        if not keeps:
            model.fixed = None
            model.rollout_buffer.keep_features(model.observation_space.shape[0])  # type: ignore[index]
        model.set_logger(Recorded())
        calls.append(0)
        learned.append(weights(model.learn(3 * 72)))
    assert calls == [3 * (9 + 1), 3 * (9 + 1 + model.n_epochs * 3)]
    for name, value in learned[0].items():
        np.testing.assert_allclose(learned[1][name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_episodes_that_are_cut_short_are_valued_alike(shuffled_alike: None) -> None:
    config = tiny(rollout_steps=9, batch_size=24, gamma=0.9)
    compiled = compiled_of(config)
    actions, found = ActiveActions.of(compiled, False), []
    for algorithm in ("ppo", "device_ppo"):
        options: dict[str, Any] = {"max_episode_steps": 4, "flat_observations": True}
        env: Any
        if algorithm == "ppo":
            env = GridAIVecEnv(GridAIVectorEnv(8, compiled.scenario, **options), actions)
        else:
            torch_env = GridAITorchVectorEnv(
                8, compiled.scenario, dtype="float64", episodes="host", **options
            )
            env = GridAIVecEnv(torch_env, actions)
        model = train.build(config.model_copy(update={"algorithm": algorithm}), env)
        model.set_logger(Recorded())
        model.learn(72)
        found.append((weights(model), [info["l"] for info in model.ep_info_buffer]))
        assert np.asarray(model.rollout_buffer.returns).any()
    assert found[0][1] == found[1][1] == [4] * 16
    for name, value in found[0][0].items():
        np.testing.assert_allclose(found[1][0][name], value, rtol=1e-4, atol=1e-6, err_msg=name)


# Environment ------------------------------------------------------------------------------------------------


def pair(scenario: str = "two_sites", num_envs: int = 3, **options: Any) -> tuple[GridAIVecEnv, GridAIVecEnv]:
    """The same training episodes on arrays and on tensors."""
    world = {"scenario": scenario, "horizon_h": 6.0, "flat_observations": True}
    on_arrays = GridAIVectorEnv(num_envs, **world)  # type: ignore[arg-type]
    on_tensors = GridAITorchVectorEnv(num_envs, dtype="float64", episodes="host", **world)  # type: ignore[arg-type]
    actions = ActiveActions.of(on_arrays.compiled, True)
    return GridAIVecEnv(on_arrays, actions, **options), GridAIVecEnv(on_tensors, actions, **options)


@pytest.mark.parametrize("scenario", ["two_sites", "microgrid_prosumer", "demand_response"])
def test_the_adapter_on_tensors_is_the_one_on_arrays(scenario: str) -> None:
    options = {"reference_reward": True, "reward_factor": 2.0, "drop_charge_usd_per_gpuh": 5.0}
    both = pair(scenario, **options)
    rng = np.random.default_rng(0)
    for venv in both:
        assert venv.seed(7) == both[0].seed(7)
    shown = [venv.reset() for venv in both]
    np.testing.assert_allclose(shown[1], shown[0], atol=1e-6)
    for _ in range(2 * both[0].env.compiled.shape.steps + 1):
        numbers = rng.uniform(-1.0, 1.0, (3, both[0].actions.size)).astype(np.float32)
        (obs, rewards, dones, infos), (obs_t, rewards_t, dones_t, infos_t) = (
            venv.step(numbers) for venv in both
        )
        np.testing.assert_allclose(obs_t, obs, atol=1e-6)
        np.testing.assert_allclose(rewards_t, rewards, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(dones_t, dones)
        assert (obs_t.dtype, rewards_t.dtype, dones_t.dtype) == (obs.dtype, rewards.dtype, dones.dtype)
        for one, other in zip(infos, infos_t, strict=True):
            assert one.keys() == other.keys()
            if one:
                np.testing.assert_allclose(
                    other["terminal_observation"], one["terminal_observation"], atol=1e-6
                )
                assert other["episode"]["r"] == pytest.approx(one["episode"]["r"], rel=1e-5)
                assert other["episode"]["l"] == one["episode"]["l"]
                for name in ("benefit_usd", "emissions_kg", "dropped_gpuh"):
                    assert other[name] == pytest.approx(one[name], rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("scenario", ["two_sites", "microgrid_prosumer", "demand_response"])
def test_what_home_earns_is_the_same_in_any_portions(scenario: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once, in the portions of compiled steps (filled up to one size), some episodes, one after the other."""
    env = GridAITorchVectorEnv(11, scenario, horizon_h=6.0, flat_observations=True, stagger=True)
    env.reset(seed=3)
    whole = AtHome(env)
    whole.begin(env.simulator, np.arange(11))
    assert whole.usd[:-1].any(0).all()
    sizes: list[int] = []

    def untraced(function: Any, at: tuple[int, ...]) -> Any:
        def run(own: list[torch.Tensor], world: list[torch.Tensor]) -> Any:
            sizes.extend(len(x) for x in (*own, *world))
            return function(own, world)

        return run

    monkeypatch.setattr(device_reference, "Traced", untraced)
    monkeypatch.setattr(device_reference, "COMPILED_AT_A_TIME", {"cpu": 5, "cuda": 5})
    monkeypatch.setattr(env, "compiles", True)
    filled = AtHome(env)
    for rows in ([9, 10], [0], list(range(1, 9))):
        filled.begin(env.simulator, np.array(rows))
    np.testing.assert_allclose(filled.usd, whole.usd, rtol=1e-6)
    assert set(sizes) == {5}


def test_staggered_episodes_end_at_different_times_and_their_rest_has_no_totals() -> None:
    env = GridAITorchVectorEnv(6, "two_sites", horizon_h=6.0, flat_observations=True, stagger=True)
    venv = GridAIVecEnv(env, ActiveActions.of(env.compiled, False), reference_reward=True)
    venv.seed(0)
    venv.reset()
    start = torch.as_tensor(venv.actions.start).expand(6, -1)
    ends = [venv.step_batch(start)[3] for _ in range(12)]
    assert all(ended is not None for ended in ends)
    infos, totals = read_ends([ended for ended in ends if ended is not None], 0.0)
    assert [info["l"] for info in infos] == [1, 2, 3, 4, 5, 6, 6, 6, 6, 6, 6, 6]
    assert len(totals) == 7  # the first of each but one began midway
    assert all(total[1] > 0.0 for total in totals)  # kg
    assert all(abs(info["r"]) < 1e-3 for info in infos[6:])  # everything at home


def test_the_device_is_not_asked_during_a_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither read, nor waited for where something is uploaded: also where episodes end and are cut short."""
    config = tiny(rollout_steps=5, batch_size=20)
    compiled = compiled_of(config)
    options: dict[str, Any] = {"max_episode_steps": 4, "stagger": True, "flat_observations": True}
    venv = GridAIVecEnv(
        GridAITorchVectorEnv(8, compiled.scenario, **options),
        ActiveActions.of(compiled, False),
        reference_reward=True,
        memory=ForecastMemory(compiled),
    )
    model = train.build(config, venv)
    model.set_logger(Recorded())
    model.learn(40)
    # The environment looks at its actions once per episode.
    monkeypatch.setattr(GridAITorchVectorEnv, "_check_wrong", lambda self: None)
    with torch.no_grad(), unchecked_distributions(), DeviceWatch() as watch:
        for _ in range(5):
            model.rollout_buffer.pos = 0
            model.advance(venv, model.rollout_buffer)
    assert not watch.waits and watch.uploads


# Files, callbacks, settings ---------------------------------------------------------------------------------


def test_models_load_into_plain_ppo_and_back(tmp_path: Path) -> None:
    config = tiny()
    compiled = compiled_of(config)
    model = built(config)
    train.train(model, config, tmp_path)
    observation = environments.make_training_env(config, compiled).reset()
    plain = PPO.load(tmp_path / "model.zip", device="cpu")
    again = load_model(tmp_path / "model.zip", "cpu", DevicePPO)
    assert type(plain) is PPO and type(plain.rollout_buffer) is RolloutBuffer
    assert type(again.rollout_buffer) is DeviceRolloutBuffer
    expected = model.predict(observation, deterministic=True)[0]
    for other in (plain, again):
        np.testing.assert_array_equal(other.predict(observation, deterministic=True)[0], expected)
    env = environments.make_training_env(tiny("ppo"), compiled)
    PPO.load(tmp_path / "model.zip", env=env, device="cpu").learn(96)  # plain PPO goes on with it
    (tmp_path / "run.json").write_text(json.dumps({"agent": Identity.of(compiled).as_dict()}))
    policy = load_policy(tmp_path / "model.zip")
    assert run_many(policy, environments.held_out_instances(compiled, 2))[0].metrics["served_share"] > 0.99


def test_callbacks_see_what_ended_and_can_stop() -> None:
    class Look(BaseCallback):
        def __init__(self) -> None:
            super().__init__()
            self.dones, self.totals = 0, 0

        def _on_step(self) -> bool:
            self.dones += int(np.sum(self.locals["dones"]))
            return self.num_timesteps < 192

        def _on_rollout_end(self) -> None:
            self.totals += len(self.locals["ended_totals"])

    look, model = Look(), built(tiny())
    model.learn(10_000, callback=look)
    assert model.num_timesteps == 192
    assert look.dones == 32
    assert look.totals == 16  # the second rollout was stopped


def test_foreign_environments_and_distributions() -> None:
    config = tiny()
    model = built(config)
    with pytest.raises(TypeError, match="needs a GridAIVecEnv"):
        model.collect_rollouts(
            environments.make_training_env(tiny("ppo"), compiled_of(config)),
            CallbackList([]),
            model.rollout_buffer,
            1,
        )
    before = Distribution._validate_args
    model.learn(96)
    assert Distribution._validate_args is before


def test_files_of_traces_are_refused_on_the_device_by_name(tmp_path: Path) -> None:
    config = tiny(**{"on_device.episodes": "device"})
    compiled = compiled_of(config)
    moved = compiled.scenario.model_copy(update={"traces": "my.csv"})
    with pytest.raises(ConfigError, match=r"on_device: .*my\.csv"):
        environments.make_training_env(config, compiled.__class__(**vars(compiled) | {"scenario": moved}))
