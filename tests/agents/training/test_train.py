"""Agents: the adapter is the environment, learning works and repeats, foreign checkpoints are refused."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")

import torch
from stable_baselines3 import PPO

from agents.config import ConfigError, PPOConfig, compiled_of, load_config, parse_overrides
from agents.networks.checkpoint import CheckpointError, Identity, NetworkPolicy, load_policy, world_hash
from agents.networks.mlp import Standardise
from agents.training import environments, train
from agents.training.callbacks import Every
from agents.training.checkpoints import checkpoint_path, latest_checkpoint, save_model
from agents.training.validation import HeldOut, evaluate
from agents.vec_env.actions import ActiveActions
from agents.vec_env.adapter import TRAINING_SEEDS, GridAIVecEnv
from agents.vec_env.home_reference import HomeReference
from baselines.rules.single_signal import LocalOnly
from gridai_env.envs.action_space import active_mask, home_action
from gridai_env.envs.env import GridAIEnv
from gridai_env.envs.simulator import Simulator
from gridai_env.envs.vector_env import GridAIVectorEnv
from gridai_env.episodes.instance import make_batch, make_instance
from gridai_env.rollout.run import run, run_many
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import load_scenario, scenario_names

TINY = Path("configs/agents/ppo_tiny.yaml")
ROOT = Path(__file__).resolve().parents[3]


def tiny(**changes: Any) -> PPOConfig:
    return load_config(ROOT / TINY, changes)


def adapter(
    num_envs: int = 3, horizon_h: float = 6.0, may_refuse: bool = True, **options: Any
) -> GridAIVecEnv:
    env = GridAIVectorEnv(num_envs, scenario="two_sites", horizon_h=horizon_h, flat_observations=True)
    return GridAIVecEnv(env, ActiveActions.of(env.compiled, may_refuse), **options)


# Settings ---------------------------------------------------------------------------------------------------


def test_every_file_of_settings_loads() -> None:
    files = sorted((ROOT / "configs" / "agents").glob("*.yaml"))
    assert files
    for file in files:
        load_config(file)


def test_every_setting_is_described() -> None:
    for section in (PPOConfig, type(PPOConfig().evaluation), type(PPOConfig().environment)):
        for name, field in section.model_fields.items():
            assert field.description or name in ("environment", "evaluation"), name


def test_overrides_are_typed_and_lists_are_space_separated() -> None:
    words = "--hidden 64 32 --learning-rate 1e-4 --total_steps=1e5 --evaluation.instances 3 --target_kl null"
    config = load_config(None, parse_overrides(words.split()))
    assert config.hidden == [64, 32]
    assert config.learning_rate == 1e-4
    assert config.total_steps == 100_000
    assert config.evaluation.instances == 3
    assert config.target_kl is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--hiden 3", "did you mean 'hidden'"),
        ("--evaluation.instance 3", "did you mean 'instances'"),
        ("--gamma 1.5", "gamma = 1.5: must be a number in [0, 1]"),
        ("--learning_rate 0", "must be a number in (0, inf)"),
        ("--learning_rate nan", "learning_rate"),
        ("--seed -1", "must be a whole number in [0, inf)"),
        ("--epochs 2.5", "must be a whole number"),
        ("--activation gelu", "one of 'tanh', 'relu'"),
        ("--batch_size 999999", "must divide num_envs * rollout_steps = 1536"),
        ("--gamma 0.9 --gamma 0.8", "given twice"),
        ("--gamma", "needs a value"),
        ("0.9 --gamma", "expected --key value"),
        ("--gamma.x 1", "gamma"),
        ("--hidden [1", "not a value"),
    ],
)
def test_bad_settings_are_refused_by_name(words: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, parse_overrides(words.split()))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [("- 1\n", "must be a table"), ("seed: [1\n", "not valid YAML"), ("seeds: 1\n", "did you mean 'seed'")],
)
def test_bad_files_are_refused_by_name(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"my\.yaml") as caught:
        load_config(file)
    assert told in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")


# Serving at home --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["two_sites", "four_markets", "energy_geography"])
def test_reference_is_local_only_where_there_are_no_jobs(name: str) -> None:
    compiled = compile_scenario(load_scenario(name, horizon_h=24.0))
    batch = make_batch(compiled, [3, 4, 5])
    simulator, reference = Simulator(batch), HomeReference(compiled)
    total = np.zeros(3)
    action = np.broadcast_to(home_action(compiled), (3, simulator.layout.size))
    for _ in range(simulator.steps):
        at_home = reference.benefit_usd(simulator.params, simulator.exogenous)
        _, outcome = simulator.step(action)
        np.testing.assert_allclose(at_home, outcome.benefit_usd, rtol=1e-9)
        total += at_home
    local = [t.benefit_usd for t in run_many(LocalOnly(), batch.instances)]
    np.testing.assert_allclose(total, local, rtol=1e-9)


@pytest.mark.parametrize("name", scenario_names())
def test_reference_knows_nothing_of_what_the_agent_did(name: str) -> None:
    compiled = compile_scenario(load_scenario(name, horizon_h=24.0))
    batch = make_batch(compiled, [1, 2])
    rng = np.random.default_rng(0)
    seen = []
    for _ in range(2):
        simulator, reference = Simulator(batch), HomeReference(compiled)
        values = []
        for _ in range(6):
            values.append(reference.benefit_usd(simulator.params, simulator.exogenous))
            simulator.step(rng.uniform(-1.0, 1.0, (2, simulator.layout.size)))
        seen.append(np.array(values))
    assert np.isfinite(seen[0]).all()
    np.testing.assert_array_equal(seen[0], seen[1])


@pytest.mark.parametrize("name", scenario_names())
def test_entries_left_out_change_nothing(name: str) -> None:
    compiled = compile_scenario(load_scenario(name, horizon_h=24.0))
    actions = ActiveActions.of(compiled, may_refuse=True)
    dead = ~active_mask(compiled, may_refuse=True)
    rng = np.random.default_rng(1)
    one, other = Simulator(make_batch(compiled, [7])), Simulator(make_batch(compiled, [7]))
    for _ in range(8):
        full = actions.expand(rng.uniform(-1.0, 1.0, (1, len(actions.index))).astype(np.float32))
        mixed = np.where(dead, rng.uniform(-1.0, 1.0, full.shape), full)
        earned = [sim.step(act)[1].benefit_usd for sim, act in ((one, full), (other, mixed))]
        np.testing.assert_allclose(earned[0], earned[1], rtol=1e-12)


def test_without_leave_to_refuse_nothing_is_refused() -> None:
    compiled = compile_scenario(load_scenario("two_sites"))
    actions = ActiveActions.of(compiled, may_refuse=False)
    simulator = Simulator(make_batch(compiled, range(4)))
    rng = np.random.default_rng(2)
    for _ in range(simulator.steps):
        act = actions.expand(rng.uniform(-1.0, 1.0, (4, len(actions.index))).astype(np.float32))
        flows, _ = simulator.step(act)
        assert flows.dropped_gpuh.max() == 0.0


# Adapter ----------------------------------------------------------------------------------------------------


def test_adapter_plays_the_episodes_of_the_single_environment() -> None:
    venv = adapter(num_envs=2)
    seeds = list(venv.seed(5))
    observation = venv.reset()
    singles = [GridAIEnv("two_sites", horizon_h=6.0) for _ in seeds]
    layout = venv.env.layout
    for i, (single, seed) in enumerate(zip(singles, seeds, strict=True)):
        first, _ = single.reset(seed=seed)
        np.testing.assert_array_equal(observation[i], layout.flatten(first))
    rng = np.random.default_rng(0)
    for step in range(6):
        own = rng.uniform(-1.0, 1.0, (2, *venv.action_space.shape)).astype(np.float32)
        observation, rewards, dones, infos = venv.step(own)
        assert observation.dtype == np.float32
        assert rewards.dtype == np.float32
        for i, single in enumerate(singles):
            last, reward, terminated, _, info = single.step(venv.actions.expand(own)[i])
            assert rewards[i] == pytest.approx(reward, rel=1e-6)
            assert bool(dones[i]) is terminated is (step == 5)
            if terminated:
                np.testing.assert_array_equal(infos[i]["terminal_observation"], layout.flatten(last))
                assert infos[i]["TimeLimit.truncated"] is False
                assert infos[i]["benefit_usd"] == pytest.approx(info["episode/benefit_usd"])
                assert infos[i]["episode"]["l"] == 6
            else:
                assert infos[i] == {}


def test_reward_is_the_gain_over_home() -> None:
    venv = adapter(reference_reward=True, reward_factor=2.0)
    venv.seed(0)
    venv.reset()
    home = np.broadcast_to(venv.actions.start, (3, *venv.action_space.shape)).copy()
    for _ in range(6):
        _, rewards, dones, infos = venv.step(home)
        np.testing.assert_allclose(rewards, 0.0, atol=1e-5)
    assert dones.all()
    assert all(abs(info["episode"]["r"]) < 1e-5 for info in infos)
    assert all(info["benefit_usd"] > 0.0 for info in infos)


def test_returns_start_anew_with_every_episode() -> None:
    venv = adapter(num_envs=2)
    venv.seed(1)
    venv.reset()
    rng = np.random.default_rng(3)
    for _ in range(3):
        total = np.zeros(2)
        for _ in range(6):
            _, rewards, dones, infos = venv.step(
                rng.uniform(-1, 1, (2, *venv.action_space.shape)).astype(np.float32)
            )
            total += rewards
        assert dones.all()
        np.testing.assert_allclose([info["episode"]["r"] for info in infos], total, rtol=1e-5)


def test_training_seeds_are_neither_typed_nor_held_out_ones() -> None:
    venv = adapter(num_envs=200)
    for seed in (0, 1, 2, 123_456_789_012):
        seeds = venv.seed(seed)
        assert all(s in TRAINING_SEEDS for s in seeds)
        assert seeds == venv.seed(seed)
    held_out = environments.held_out_instances(venv.env.compiled, 3)
    assert [instance.seed for instance in held_out] == [
        environments.FIRST_HELD_OUT_SEED + i for i in range(3)
    ]
    assert TRAINING_SEEDS.stop <= environments.FIRST_HELD_OUT_SEED


def test_attributes_methods_and_wrappers() -> None:
    venv = adapter()
    assert venv.get_attr("render_mode") == [None] * 3
    assert venv.get_attr("flat_observations", indices=[0, 2]) == [True, True]
    assert venv.env_is_wrapped(GridAIEnv) == [False] * 3
    venv.set_attr("note", 5)
    assert venv.get_attr("note", indices=1) == [5]
    with pytest.raises(ValueError, match="share one environment"):
        venv.set_attr("note", 5, indices=[0])
    with pytest.raises(AttributeError):
        venv.get_attr("nothing_of_the_kind")
    venv.close()


# Network ----------------------------------------------------------------------------------------------------


def test_first_actions_serve_everything_at_home() -> None:
    config = tiny(may_refuse=True)
    compiled = compiled_of(config)
    model = train.build(config, environments.make_training_env(config, compiled))
    instances = environments.held_out_instances(compiled, 4)
    held_out = HeldOut.of(run_many(LocalOnly(), instances))
    figures = evaluate(NetworkPolicy(model.policy, Identity.of(compiled)), held_out)
    assert abs(figures.over_local_usd.value) < 0.05 * held_out.local_bill_usd.mean()
    assert figures.means["served_share"] == pytest.approx(1.0)


def test_standardised_observations_are_of_one_size() -> None:
    from gymnasium import spaces

    rng = np.random.default_rng(0)
    data = (rng.standard_normal((4000, 3)) * [0.5, 10.0, 0.0] + [2.0, -5.0, 7.0]).astype(np.float32)
    layer = Standardise(spaces.Box(-100.0, 100.0, (3,)))
    layer.fit(data)
    out = layer(torch.as_tensor(data)).numpy()
    np.testing.assert_allclose(np.median(out, axis=0), 0.0, atol=0.05)
    np.testing.assert_allclose(out.std(0)[:2], np.log(2.0), rtol=0.2)
    assert (out[:, 2] == 0.0).all()


def cheap_neighbour(folder: Path) -> Path:
    """A scenario of one region where the site that is not home pays a fifth of the price for power."""
    data = load_scenario("two_sites", horizon_h=6.0).model_dump(mode="json")
    home, other = data["sites"]
    for site in (home, other):
        site |= {"zone": home["zone"], "battery": None, "gpus": 40_000.0}
    other["grid"]["price_scale"] = 0.2
    one_class = data["classes"][0] | {"share": 1.0, "state_bound_share": 0.0}
    data |= {"name": "cheap_neighbour", "regions": data["regions"][:1], "classes": [one_class]}
    file = folder / "cheap_neighbour.yaml"
    file.write_text(yaml.safe_dump(data))
    return file


@pytest.mark.parametrize("algorithm", ["ppo", "device_ppo"])
def test_learns_to_use_the_cheap_neighbour(tmp_path: Path, algorithm: str) -> None:
    solver = pytest.importorskip("baselines.optimum.milp", reason="needs the extra 'milp'")
    config = tiny(
        **{
            "algorithm": algorithm,
            "environment.scenario": str(cheap_neighbour(tmp_path)),
            "initial_deviation": 1.0,
            "learning_rate": 3e-3,
            "total_steps": 8_000,
            "num_envs": 32,
            "batch_size": 192,
            "epochs": 5,
        }
    )
    compiled = compiled_of(config)
    instances = environments.held_out_instances(compiled, 4)
    bounds = [solver.solve(instance).bound for instance in instances]
    held_out = HeldOut.of(run_many(LocalOnly(), instances), bounds)
    model = train.build(config, environments.make_training_env(config, compiled))
    before = evaluate(NetworkPolicy(model.policy, Identity.of(compiled)), held_out)
    train.train(model, config, tmp_path)
    after = evaluate(NetworkPolicy(model.policy, Identity.of(compiled)), held_out)
    assert before.gain_captured is not None and after.gain_captured is not None
    assert abs(before.gain_captured) < 0.1
    assert after.gain_captured > 0.9
    assert after.means["dropped_gpuh"] == 0.0


def train_once(folder: Path, **changes: Any) -> PPO:
    config = tiny(**changes)
    compiled = compiled_of(config)
    model = train.build(config, environments.make_training_env(config, compiled))
    train.train(model, config, folder)
    return model


def weights(model: PPO) -> list[np.ndarray]:
    return [value.detach().numpy().copy() for value in model.policy.state_dict().values()]


def test_equal_seeds_give_equal_weights(tmp_path: Path) -> None:
    one, same, other = (
        train_once(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert all(np.array_equal(x, y) for x, y in zip(weights(one), weights(same), strict=True))
    assert not all(np.array_equal(x, y) for x, y in zip(weights(one), weights(other), strict=True))


def test_resuming_restores_weights_optimiser_steps_and_schedule(tmp_path: Path) -> None:
    first = train_once(tmp_path, total_steps=192)
    config = tiny(total_steps=384)
    compiled = compiled_of(config)
    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint == checkpoint_path(tmp_path, 192)
    again = train.resume(config, environments.make_training_env(config, compiled), checkpoint)
    assert again.num_timesteps == 192
    assert all(np.array_equal(x, y) for x, y in zip(weights(first), weights(again), strict=True))
    states = [m.policy.optimizer.state_dict()["state"] for m in (first, again)]
    assert all(torch.equal(states[0][k]["exp_avg"], states[1][k]["exp_avg"]) for k in states[0])
    train.train(again, config, tmp_path)
    assert again.num_timesteps == 384
    rate = again.policy.optimizer.param_groups[0]["lr"]
    halfway = (config.learning_rate + config.learning_rate_end) / 2
    assert config.learning_rate_end <= rate < halfway


def test_an_interrupted_run_leaves_a_checkpoint(tmp_path: Path) -> None:
    from stable_baselines3.common.callbacks import BaseCallback

    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps == 104:
                signal.raise_signal(signal.SIGINT)
            return True

    config = tiny(checkpoint_every_steps=10_000)
    model = train.build(config, environments.make_training_env(config, compiled_of(config)))
    with pytest.raises(KeyboardInterrupt):
        train.train(model, config, tmp_path, extra=[Stop()])
    assert latest_checkpoint(tmp_path) == checkpoint_path(tmp_path, 192)  # when the update had ended
    assert not (tmp_path / "model.zip").exists()


def test_intervals_fall_due_once() -> None:
    every = Every(100)
    assert [every.due(now) for now in (30, 90, 120, 130, 350, 399, 400)] == [
        False,
        False,
        True,
        False,
        True,
        False,
        True,
    ]


# Checkpoints ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with model.zip, a checkpoint and run.json."""
    folder = tmp_path_factory.mktemp("trained")
    train_once(folder)
    identity = Identity.of(compiled_of(tiny()))
    (folder / "run.json").write_text(json.dumps({"agent": identity.as_dict()}))
    return folder


def test_policy_acts_on_single_and_batched_observations(trained: Path) -> None:
    policy = load_policy(trained / "model.zip")
    instances = [make_instance("two_sites", seed=s, horizon_h=6.0) for s in (1, 2)]
    together = run_many(policy, instances)
    alone = [run(policy, instance) for instance in instances]
    for one, other in zip(together, alone, strict=True):
        assert one.benefit_usd == pytest.approx(other.benefit_usd, rel=1e-6)
    env = GridAIEnv("two_sites", horizon_h=6.0)
    observation, _ = env.reset(seed=0)
    action, state = policy.predict(observation)
    assert state is None
    assert env.action_space.contains(action)
    assert load_policy(trained / "checkpoints" / "steps_000000000384.zip").predict(observation)[
        0
    ] == pytest.approx(action)


@pytest.mark.parametrize("kind", ["published", "persistence", "perfect"])
def test_days_traces_and_kind_of_forecast_may_differ(trained: Path, kind: str) -> None:
    scenario = load_scenario("two_sites", horizon_h=6.0)
    moved = load_scenario("two_sites", horizon_h=6.0, forecast=kind)
    moved = moved.model_copy(update={"traces": "other.csv", "description": "x"})
    assert world_hash(scenario) == world_hash(moved)
    first, *others = scenario.sites
    grid = {"clean_share": 0.4, "residual_kg_per_mwh": 600.0}
    told = first.model_copy(update={"grid": first.grid.model_copy(update=grid)})
    assert world_hash(scenario) == world_hash(scenario.model_copy(update={"sites": [told, *others]}))
    dear = first.model_copy(update={"grid": first.grid.model_copy(update={"price_adder_usd_per_mwh": 77.0})})
    assert world_hash(scenario) != world_hash(scenario.model_copy(update={"sites": [dear, *others]}))
    skilled = scenario.forecast.model_copy(update={"skill_last": 0.5})
    assert world_hash(scenario) != world_hash(scenario.model_copy(update={"forecast": skilled}))
    load_policy(trained / "model.zip").prepare(compile_scenario(load_scenario(moved, traces="synthetic")))


@pytest.mark.parametrize(
    ("scenario", "changes", "told"),
    [
        ("four_markets", {}, "not on 'four_markets'"),
        ("two_sites", {}, "with other values"),
        ("two_sites", {"horizon_h": 6.0, "carbon_price_usd_per_t": 90.0}, "with other values"),
    ],
)
def test_checkpoint_of_another_scenario(
    trained: Path, scenario: str, changes: dict[str, Any], told: str
) -> None:
    policy = load_policy(trained / "model.zip")
    with pytest.raises(CheckpointError, match=told):
        policy.prepare(compile_scenario(load_scenario(scenario, **changes)))


def test_checkpoint_of_other_sizes(trained: Path) -> None:
    scenario = load_scenario("two_sites", horizon_h=6.0)
    longer = scenario.model_copy(
        update={"forecast": scenario.forecast.model_copy(update={"leads_h": [1.0, 2.0]})}
    )
    with pytest.raises(CheckpointError, match="forecast_buy_price: 12 against 4"):
        load_policy(trained / "model.zip").prepare(compile_scenario(longer))


def copied(trained: Path, folder: Path, **changes: Any) -> Path:
    """A run folder whose run.json has other values."""
    record = json.loads((trained / "run.json").read_text())
    record["agent"] |= changes
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "model.zip").write_bytes((trained / "model.zip").read_bytes())
    return folder / "model.zip"


def test_checkpoint_of_another_version(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="version 99 of the environment"):
        load_policy(copied(trained, tmp_path, environment_version=99))


def test_checkpoint_that_is_not_that_of_its_run(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"not those of its run\.json"):
        load_policy(copied(trained, tmp_path, action_size=5))


def test_checkpoint_without_its_run(trained: Path, tmp_path: Path) -> None:
    model = copied(trained, tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"not the run\.json of a training run"):
        load_policy(model)
    (tmp_path / "run.json").unlink()
    with pytest.raises(CheckpointError, match=r"run\.json: missing"):
        load_policy(model)


@pytest.mark.parametrize("damage", ["empty", "cut", "text"])
def test_damaged_checkpoint(trained: Path, tmp_path: Path, damage: str) -> None:
    model = copied(trained, tmp_path)
    whole = model.read_bytes()
    model.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"not a zip"}[damage])
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_policy(model)


def test_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        load_policy(tmp_path / "model.zip")


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    class Broken:
        def save(self, file: Any, exclude: Any) -> None:
            file.write(b"half")
            raise OSError("disk full")

    target = tmp_path / "model.zip"
    target.write_bytes(b"whole")
    with pytest.raises(OSError, match="disk full"):
        save_model(Broken(), target)  # type: ignore[arg-type]
    assert target.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [target]
