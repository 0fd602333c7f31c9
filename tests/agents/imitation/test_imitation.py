"""Imitation: plans replay to what they earned, cloning reproduces decisions, foreign data is refused."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.support.small_scenario import SMALL, flexible

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")
pytest.importorskip("highspy", reason="needs the extra 'milp'")

import torch

from agents.config import ConfigError, compiled_of, load_config
from agents.imitation.action_distance import Distance
from agents.imitation.cloning import ImitationError, ValueGoal, clone
from agents.imitation.demonstrations import Demonstration, DemonstrationError, Demonstrations, demonstrate
from agents.networks.checkpoint import Identity, NetworkPolicy
from agents.training import environments, train
from agents.training.imitation import imitate
from agents.training.validation import HeldOut, Milestones
from agents.vec_env.actions import ActiveActions
from agents.vec_env.adapter import TRAINING_SEEDS, GridAIVecEnv
from baselines.mpc.policy import MPC
from baselines.optimum.milp import solve
from baselines.rules.greedy import Greedy
from baselines.rules.single_signal import LocalOnly, PriceOnly
from gridai_env.envs.vector_env import GridAIVectorEnv
from gridai_env.episodes.instance import make_batch, make_instance
from gridai_env.rollout.run import run, run_many
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import load_scenario, parse_scenario
from gridai_env.world.actions import Layout
from gridai_env.world.state import Shape
from scripts import demonstrate as command
from scripts import train as train_command
from scripts.studies import demonstrations

ROOT = Path(__file__).resolve().parents[3]
HOURS = 6.0
SEED = TRAINING_SEEDS.start


@cache
def compiled(hours: float = HOURS, name: str = "two_sites") -> Any:
    return compile_scenario(load_scenario(name, horizon_h=hours))


def two_sites(seed: int = SEED) -> Any:
    return make_batch(compiled(), [seed])[0]


def config(**changes: Any) -> Any:
    small = {"environment.horizon_h": HOURS, "hidden": [64, 64]}
    return load_config(ROOT / "configs" / "agents" / "ppo_tiny.yaml", small | changes)


def model_for(**changes: Any) -> Any:
    settings = config(**changes)
    return train.build(settings, environments.make_training_env(settings, compiled_of(settings)))


def replayed_usd(found: Demonstration, instance: Any) -> float:
    """What the stored actions earn in the public environment."""
    plan = SimpleNamespace(instance=instance, actions=found.arrays["actions"], flows=SimpleNamespace(
        served_gpuh=np.zeros(instance.steps)
    ))  # fmt: skip
    return run(plan, instance).benefit_usd


# What is noted ------------------------------------------------------------------------------------------------------


def test_a_plan_is_noted_and_replays_to_its_benefit(tmp_path: Path) -> None:
    instance = two_sites()
    plan = solve(instance, threads=1)
    path = demonstrate(plan, instance).save(tmp_path / "one.npz")
    found = Demonstration.load(path)
    assert replayed_usd(found, instance) == pytest.approx(plan.benefit_usd, rel=1e-5)
    assert found.facts["benefit_usd"] == pytest.approx(plan.benefit_usd, rel=1e-5)
    assert np.array_equal(found.arrays["actions"], plan.actions)


def test_a_planner_is_noted_as_it_decides() -> None:
    instance = two_sites()
    alone = run(MPC("day_ahead"), instance)
    found = demonstrate(MPC("day_ahead"), instance)
    assert found.facts["planner"] == "mpc:day_ahead"
    assert found.facts["benefit_usd"] == alone.benefit_usd == replayed_usd(found, instance)
    assert alone.actions is not None
    assert np.array_equal(found.arrays["actions"], alone.actions)


def test_observations_and_gains_are_those_of_training() -> None:
    """Against the training environment: the same flat observations, the same reward over serving at home."""
    instance = two_sites()
    found = demonstrate(Greedy(), instance)
    env = GridAIVectorEnv(1, scenario=instance.scenario, flat_observations=True)
    whole = SimpleNamespace(
        size=Layout(instance.compiled.shape).size, expand=lambda numbers: numbers, low=-1.0, high=1.0
    )
    vec = GridAIVecEnv(env, whole, reference_reward=True)  # type: ignore[arg-type]
    vec._seeds = [SEED]  # `seed` would draw another episode, of those for training
    seen, rewards = [vec.reset()[0]], []
    assert env.instances[0].hash == instance.hash
    for action in found.arrays["actions"]:
        observation, reward, _, _ = vec.step(action[None])
        seen.append(observation[0])
        rewards.append(reward[0])
    assert np.array_equal(np.stack(seen[:-1]), found.arrays["observations"])
    gains = found.arrays["gain_usd"] / instance.scenario.reward_scale_usd
    assert np.allclose(gains, rewards, rtol=1e-5, atol=1e-5)
    data = Demonstrations([found], instance.compiled)
    assert data.returns(1.0)[0] == pytest.approx(sum(rewards), rel=1e-4)
    assert data.returns(0.5)[-2] == pytest.approx(rewards[-2] + 0.5 * rewards[-1], rel=1e-4)
    data.arrays["dropped_gpuh"][-1] = 2.0
    charged = data.returns(1.0, 3.0, drop_charge_usd_per_gpuh=7.0)
    assert charged[-1] == pytest.approx(
        3.0 * (rewards[-1] - 14.0 / instance.scenario.reward_scale_usd), rel=1e-4
    )


def test_weights_are_work_and_jobs_of_the_state() -> None:
    instance = make_instance(parse_scenario(SMALL, "small"), SEED)
    found = demonstrate(Greedy(), instance)
    trajectory = run(Greedy(), instance)
    arrays, flows, before = found.arrays, trajectory.flows, trajectory.before
    on_hand = before.backlog_gpuh + instance.exogenous.arrivals_gpuh
    assert np.allclose(arrays["on_hand_gpuh"], on_hand, rtol=1e-6)
    assert (arrays["routed_gpuh"] <= arrays["on_hand_gpuh"] * (1.0 + 1e-6)).all()
    sizes = instance.params.job_gpus * instance.params.job_profile.sum(-1)
    shown = arrays["job_gpuh"] > 0.0
    assert shown.any()
    assert set(arrays["job_gpuh"][shown].round(3)) <= {np.float32(size).round(3) for size in sizes}
    assert (arrays["job_open"][..., -1] == shown).all()
    # A job that was started was open at its site, in some slot of that step.
    for t, j, k in np.argwhere(flows.started > 0.5):
        slots = np.flatnonzero(np.isclose(arrays["job_gpuh"][t], sizes[j]))
        assert any(arrays["job_open"][t, v, k] == 1.0 for v in slots), (t, j, k)


def test_a_plan_of_another_episode_is_refused() -> None:
    with pytest.raises(ValueError, match="another instance"):
        demonstrate(solve(two_sites(), threads=1), two_sites(SEED + 1))


# Distance -----------------------------------------------------------------------------------------------------------


def one_step(**changes: float) -> tuple[Distance, dict[str, torch.Tensor], Any]:
    """A step of two_sites: 100 GPU-h on hand everywhere, all routed half and half."""
    world = compiled()
    shape = world.shape
    action = np.zeros((1, Layout(shape).size), dtype=np.float32)
    batch = {
        "actions": torch.as_tensor(action),
        "on_hand_gpuh": torch.full((1, shape.regions, shape.rows), 100.0),
        "routed_gpuh": torch.full((1, shape.regions, shape.rows), 100.0),
        "renewable_available_mw": torch.zeros(1, shape.sites),
        "job_gpuh": torch.zeros(1, shape.slots),
        "job_open": torch.zeros(1, shape.slots, shape.sites + 1),
    }
    return Distance(world), batch, Layout(shape)


def test_what_means_the_same_is_no_distance_apart() -> None:
    distance, batch, layout = one_step()
    other = batch["actions"].numpy().copy()
    part = layout.split(other)  # views
    routing = part["routing"]
    routing[..., :2] = -0.5  # the same shares at another scale
    routing[..., 2] = -0.7  # holds nothing
    routing[..., 3] = 0.5  # refuses nothing
    part["generator"][...] = -1.0
    part["renewable"][...] = 1.0  # all of it, as 0
    assert float(distance.loss(torch.as_tensor(other), batch)) == pytest.approx(0.0, abs=1e-6)


def test_a_moved_share_and_a_battery_by_hand() -> None:
    distance, batch, layout = one_step()
    p = compiled().params
    other = batch["actions"].numpy().copy()
    row = int(np.argmax(p.route_open[0].sum(-1)))
    assert p.route_open[0, row].sum() == 2
    layout.split(other)["routing"][0, 0, row, :2] = [1.0, 0.0]  # two thirds and one third, against halves
    layout.split(other)["battery"][0] = [0.5, -0.5]
    parts = {name: float(value) for name, value in distance.parts(torch.as_tensor(other), batch).items()}
    mwh_per_gpuh = float(np.mean(p.busy_kw_per_gpu / p.speed)) / 1000.0
    assert parts["route"] == pytest.approx(100.0 * mwh_per_gpuh * (2 / 3 - 1 / 2), rel=1e-5)
    limits = np.maximum(p.charge_limit_mw, p.discharge_limit_mw)
    assert parts["battery"] == pytest.approx(0.5 * limits.sum() * p.dt_h, rel=1e-5)
    squared = distance.parts(torch.as_tensor(other), batch, squared=True)
    assert float(squared["battery"]) == pytest.approx(0.25 * limits.sum() * p.dt_h, rel=1e-5)


def without_anything(goal: np.ndarray, shape: Shape) -> dict[str, torch.Tensor]:
    """Return a step [1] in which there is nothing to route, to use or to start."""
    return {
        "actions": torch.as_tensor(goal),
        "on_hand_gpuh": torch.zeros(1, shape.regions, shape.rows),
        "routed_gpuh": torch.zeros(1, shape.regions, shape.rows),
        "renewable_available_mw": torch.zeros(1, shape.sites),
        "job_gpuh": torch.zeros(1, shape.slots),
        "job_open": torch.zeros(1, shape.slots, shape.sites + 1),
    }


def test_power_modes_count_by_what_they_could_save() -> None:
    """By hand: 600 of the 1000 accelerators of south would be busy at full speed."""
    world = flexible()
    shape, layout, distance = world.shape, Layout(world.shape), Distance(world)
    goal = np.full((1, layout.size), -1.0, dtype=np.float32)
    layout.split(goal)["routing"][..., 1] = 1.0
    layout.split(goal)["mode"][...] = [0.2, 0.9]
    own = goal.copy()
    layout.split(own)["mode"][...] = [-0.5, 0.4]
    batch = without_anything(goal, shape)
    row = int(np.argmax(world.params.route_open[0, :, 1]))
    batch["routed_gpuh"][0, 0, row] = 900.0  # at speed 1.5: 600 accelerators of 1000
    parts = distance.parts(torch.as_tensor(own), batch)

    # Training on an H100: below its knee (961 W at 0.8) the mix of idle and knee draws 0.25 + x * (0.961 - 0.25) / 0.8.
    full_kw, least_kw = 0.25 + 0.6 * (1.15 - 0.25), 0.25 + 0.6 * (0.961 - 0.25) / 0.8
    assert float(parts["mode"]) == pytest.approx(0.5 * (full_kw - least_kw), rel=1e-4)
    assert float(distance.loss(batch["actions"], batch)) == pytest.approx(0.0, abs=1e-6)
    assert "mode" not in Distance(compiled()).parts(*(one_step()[1]["actions"], one_step()[1]))


def test_entries_are_drawn_to_their_goal_from_beyond_an_edge() -> None:
    distance, batch, layout = one_step()
    layout.split(batch["actions"].numpy())["routing"][..., 2] = 0.4  # the plan holds
    other = torch.as_tensor(
        np.full_like(batch["actions"].numpy(), -0.2), dtype=torch.float32
    ).requires_grad_()
    distance.loss(other, batch).backward()
    assert other.grad is not None
    waits = compiled().params.may_wait > 0.0
    assert (layout.split(other.grad.numpy())["routing"][0][:, waits, 2] < 0.0).all()


def test_jobs_count_by_the_chosen_entry_among_the_open() -> None:
    world = compile_scenario(parse_scenario(SMALL, "small"))
    shape, layout = world.shape, Layout(world.shape)
    distance = Distance(world)
    goal, own = (np.full((1, layout.size), -1.0, dtype=np.float32) for _ in range(2))
    layout.split(goal)["jobs"][0, 0, 1] = 1.0
    layout.split(own)["jobs"][0, 0, 1] = 0.5
    layout.split(own)["jobs"][0, 0, 0] = 1.0  # closed: cannot win
    batch = without_anything(goal, shape)
    assert float(distance.parts(torch.as_tensor(own), batch)["jobs"]) == 0.0  # nobody waits
    batch["job_gpuh"][0, 0] = 10.0
    batch["job_open"][0, 0, 1:] = 1.0
    surprise = np.log1p(np.exp(-4.0 * 1.5))  # two open entries, 1.5 apart
    expected = 10.0 * distance.mwh_per_gpuh * surprise
    assert float(distance.parts(torch.as_tensor(own), batch)["jobs"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("shared", [False, True])
def test_numbers_expand_alike_as_tensors(shared: bool) -> None:
    actions = ActiveActions.of(compiled(name="four_markets"), may_refuse=True, shared_routing=shared)
    numbers = np.random.default_rng(0).uniform(-1.0, 1.0, (2, 3, actions.size)).astype(np.float32)
    assert np.array_equal(actions.expand(torch.as_tensor(numbers)).numpy(), actions.expand(numbers))
    assert actions.read(actions.as_dict()).size == actions.size  # what was copied to a device is not saved


# Cloning ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rule_data() -> Demonstrations:
    """Episodes of a rule that sends work where energy is cheapest."""
    return Demonstrations([demonstrate(PriceOnly(), two_sites(SEED + i)) for i in range(80)], compiled())


def test_cloning_a_rule_reproduces_its_decisions(rule_data: Demonstrations) -> None:
    model = model_for(may_refuse=False)
    unseen = [two_sites(SEED + 1000 + i) for i in range(24)]
    policy = NetworkPolicy(model.policy, Identity.of(rule_data.compiled))

    def usd(player: Any) -> float:
        return sum(t.benefit_usd for t in run_many(player, unseen))

    local, rule, before = usd(LocalOnly()), usd(PriceOnly()), usd(policy)
    told: list[int] = []
    report = clone(
        model.policy, model.policy.actions, rule_data, epochs=30, batch_size=32, learning_rate=1e-3, seed=1,
        callback=lambda epoch, figures: told.append(epoch), value=ValueGoal(),
    )  # fmt: skip
    assert before - local < 0.2 * (rule - local)
    assert usd(policy) - local == pytest.approx(rule - local, rel=0.25)
    assert told == list(range(1, 31))
    assert report.steps == 72 * 6  # a tenth of the episodes is left out
    assert 1 <= report.best_epoch <= 30
    assert set(report.parts_mwh) == {"route", "hold", "refuse", "battery", "generator", "renewable", "jobs"}
    assert report.distance_mwh == pytest.approx(sum(report.parts_mwh.values()), rel=1e-6)
    assert report.value_error is not None
    assert report.value_error < 0.8 * float(rule_data.returns(1.0).std())


def test_equal_seeds_give_equal_weights_and_the_best_are_kept(rule_data: Demonstrations) -> None:
    weights = []
    for _ in range(2):
        model = model_for()
        clone(model.policy, model.policy.actions, rule_data, epochs=2, batch_size=64, seed=3)
        weights.append(torch.nn.utils.parameters_to_vector(model.policy.parameters()))
    assert torch.equal(*weights)


def test_a_distance_that_is_no_number_stops_and_keeps_the_weights(rule_data: Demonstrations) -> None:
    data = Demonstrations(rule_data.episodes[:4], rule_data.compiled)
    model = model_for()
    before = torch.nn.utils.parameters_to_vector(model.policy.parameters()).clone()
    data.arrays["on_hand_gpuh"][0] = float("nan")
    with pytest.raises(ImitationError, match="lower the learning rate"):
        clone(model.policy, model.policy.actions, data, epochs=1, left_out=0.0)
    assert torch.equal(before, torch.nn.utils.parameters_to_vector(model.policy.parameters()))
    with pytest.raises(ValueError, match="epochs = 0"):
        clone(model.policy, model.policy.actions, data, epochs=0)


def test_the_teacher_labels_what_the_learner_reaches() -> None:
    instance = two_sites(SEED + 500)
    played = run(LocalOnly(), instance)
    found = demonstrate(LocalOnly(), instance, teacher=MPC("day_ahead"))
    assert found.facts["benefit_usd"] == played.benefit_usd  # the learner plays ...
    assert (found.facts["actor"], found.facts["planner"]) == ("local_only", "mpc:day_ahead")
    first = demonstrate(MPC("day_ahead"), instance)
    assert np.array_equal(
        found.arrays["actions"][0], first.arrays["actions"][0]
    )  # ... and the teacher is asked


def test_milestones_tell_imitation_from_learning(tmp_path: Path, rule_data: Demonstrations) -> None:
    instances = [two_sites(2**31 + i) for i in range(2)]
    held_out = HeldOut.of(run_many(LocalOnly(), instances), [solve(i, threads=1).bound for i in instances])
    stages = Milestones(tmp_path, held_out)
    stages.measure("start", LocalOnly())
    stages.measure("imitation", Greedy(), steps=480, epochs=3, seconds=1.5)
    record = json.loads((tmp_path / "stages.json").read_text())["stages"]
    assert [stage["name"] for stage in record] == ["start", "imitation"]
    assert record[0]["gain_captured"] == pytest.approx(0.0)
    assert 0.0 < record[1]["gain_captured"] < 1.0
    assert (record[1]["steps"], record[1]["epochs"], record[1]["seconds"]) == (480, 3, 1.5)
    assert [path.name for path in tmp_path.iterdir()] == ["stages.json"]


# Files --------------------------------------------------------------------------------------------------------------


def test_foreign_and_damaged_data_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "episodes"
    folder.mkdir(parents=True)
    with pytest.raises(DemonstrationError, match="no demonstrations in"):
        Demonstrations.load(tmp_path / "run", compiled())
    found = demonstrate(LocalOnly(), two_sites())
    path = found.save(folder / "a.npz")
    assert len(Demonstrations.load([tmp_path / "run"], compiled())) == HOURS
    for world, told in (
        (compiled(12.0), "other values"),
        (compiled(name="four_markets"), "another scenario"),
    ):
        with pytest.raises(DemonstrationError, match=told):
            Demonstrations.load(tmp_path / "run", world)
    old = dict(found.facts["agent"], environment_version=0)
    with pytest.raises(DemonstrationError, match="another version of the environment: 0 against"):
        Demonstrations([Demonstration(found.facts | {"agent": old}, found.arrays)], compiled())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DemonstrationError, match=r"a\.npz: damaged"):
        Demonstrations.load(tmp_path / "run", compiled())


def make(folder: Path, *words: str) -> int:
    return command.main(
        [
            "--scenario",
            "two_sites",
            "--horizon-h",
            "6",
            "--run-dir",
            str(folder),
            "--planner",
            "mpc:day_ahead",
            *words,
        ]
    )


def test_the_command_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert make(folder, "--episodes", "3") == 0
    told = capsys.readouterr().out
    assert "training days" in told
    files = sorted((folder / "episodes").iterdir())
    assert len(files) == 3
    months = {str(Demonstration.load(file).facts["start_utc"])[5:7] for file in files}
    assert months <= {"01", "04", "05", "07", "10", "11"}  # of configs/benchmarks/two_sites.yaml
    stamps = [file.stat().st_mtime_ns for file in (files[0], files[2])]
    files[1].unlink()
    assert make(folder, "--episodes", "4") == 0
    assert "2 of them finished before" in capsys.readouterr().out
    assert [file.stat().st_mtime_ns for file in (files[0], files[2])] == stamps
    assert len(list((folder / "episodes").iterdir())) == 4
    again = Demonstration.load(files[1])
    assert replayed_usd(again, two_sites_on_training_days(again.facts["seed"])) == again.facts["benefit_usd"]
    rows = (folder / "demonstrations.csv").read_text().splitlines()
    assert len(rows) == 5
    assert json.loads((folder / "run.json").read_text())["finished"] is True
    assert make(folder, "--planner", "greedy") == 2
    assert "planner was 'mpc:day_ahead' and is now 'greedy'" in capsys.readouterr().err
    assert make(folder, "--planner", "greedy", "--overwrite", "--episodes", "1") == 0
    assert len(list((folder / "episodes").iterdir())) == 1
    (next(iter((folder / "episodes").iterdir()))).write_bytes(b"no")
    assert make(folder, "--planner", "greedy", "--episodes", "1") == 2
    assert "delete it and make it again" in capsys.readouterr().err


def two_sites_on_training_days(seed: int) -> Any:
    from gridai_env.benchmarks.sets import restricted

    return make_instance(restricted(load_scenario("two_sites", horizon_h=HOURS)), seed)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--seeds", "0-3"], "--seeds 0: not a training seed"),
        (["--seeds", str(2**31)], f"--seeds {2**31}: not a training seed"),
        (["--seeds", "1000000", "--episodes", "3"], "leave out --episodes"),
        (["--episodes", "0"], "--episodes 0: must be a whole number, at least 1"),
        (["--planner", "mpc:perfct"], "known:"),
        (["--planner", "ppo:x.zip"], "unknown"),
        (["--forecast", "persistence"], "policy mpc:day_ahead: episodes with 'persistence' forecasts"),
        (["--days", "train", "--start", "2023-07-01T00:00"], "--days train"),
        (["--mip-gap", "2"], "--mip-gap 2"),
        (["--planner", "greedy", "--actor", "milp"], "--actor milp: has a plan"),
        (["--planner", "greedy", "--actor", "residual:pretrained"], "no agent of kind 'residual' is shipped"),
    ],
)
def test_bad_requests_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert make(tmp_path / "run", *words) == 2
    captured = capsys.readouterr().err
    assert told in captured
    assert captured.startswith("error: ")
    assert not (tmp_path / "run" / "episodes").exists()


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = ["--scenario", "two_sites", "--horizon-h", "24", "--episodes", "200", "--run-dir", str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.demonstrate", *words],
        cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, start_new_session=True,
        # Where the tests run in the background of a shell, ctrl-C is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    end = time.monotonic() + 60.0
    while time.monotonic() < end and len(list((folder / "episodes").glob("[0-9a-f]*.npz"))) < 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    files = list((folder / "episodes").iterdir())
    assert 2 <= len(files) < 200
    assert f"interrupted: {len(files)} of 200 episodes are kept" in told
    for file in files:
        Demonstration.load(file)


# In a training ----------------------------------------------------------------------------------------------------


def test_training_begins_from_the_demonstrations(tmp_path: Path) -> None:
    assert make(tmp_path / "data", "--planner", "greedy", "--episodes", "6") == 0
    settings = config(
        **{"imitation.data": str(tmp_path / "data"), "imitation.deviation": 0.2, "imitation.epochs": 2}
    )
    env = environments.make_training_env(settings, compiled_of(settings))
    model = train.build(settings, env)
    before = torch.nn.utils.parameters_to_vector(model.policy.action_net.parameters()).clone()
    imitate(model, settings, tmp_path)
    assert not torch.equal(before, torch.nn.utils.parameters_to_vector(model.policy.action_net.parameters()))
    assert torch.allclose(model.policy.log_std.exp(), torch.tensor(0.2))
    record = json.loads((tmp_path / "imitation.json").read_text())
    assert (record["planners"], record["epochs"], record["steps"]) == (["greedy"], 2, 30)
    wrong = config(**{"imitation.data": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"imitation\.data = .*no demonstrations"):
        imitate(model, wrong, tmp_path / "other")


def taught(folder: Path, *words: str) -> int:
    """A set network that a rule teaches in two rounds, and a single update after them."""
    small = ["--policy", "set", "--algorithm", "pathwise", "--hidden", "8", "--num_envs", "4", "--no-bounds"]
    teaching = {"teacher": "greedy", "rounds": 1, "episodes": 3, "epochs": 1, "workers": 1}
    given = [
        word
        for key, value in teaching.items()
        if f"--imitation.{key}" not in words
        for word in (f"--imitation.{key}", str(value))
    ]
    config = str(ROOT / "configs" / "agents" / "ppo_tiny.yaml")
    total = ["--total_steps", "24", "--evaluation.every_steps", "1000"]
    return train_command.main(["--config", config, "--run-dir", str(folder), *small, *given, *total, *words])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    with zipfile.ZipFile(folder / "model.zip") as archive:
        return dict(torch.load(io.BytesIO(archive.read("policy.pth")), weights_only=True))


def test_a_teacher_labels_what_the_network_reaches_and_a_killed_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert taught(tmp_path / "whole") == 0
    labels = sorted((tmp_path / "whole" / "imitation").glob("labels_*/episodes/*.npz"))
    first, second = [Demonstration.load(file) for file in labels[::3]]
    assert (first.facts["actor"], second.facts["actor"]) == ("greedy", "network")
    assert second.facts["planner"] == "greedy"
    assert len({Demonstration.load(file).facts["seed"] for file in labels}) == 6
    record = json.loads((tmp_path / "whole" / "imitation.json").read_text())
    assert [found["steps"] for found in record["rounds"]] == [
        3 * 6,
        5 * 6,
    ]  # one episode is left out at the end
    names = [
        stage["name"] for stage in json.loads((tmp_path / "whole" / "stages.json").read_text())["stages"]
    ]
    assert names == ["start", "imitation", "pathwise"]

    # Stopped while the second round is labelled: what is there is kept, the end is the same.
    whole = demonstrations.demonstrate
    played: list[int] = []

    def stopping(*arguments: Any) -> Demonstration:
        played.append(1)
        if len(played) == 5:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(demonstrations, "demonstrate", stopping)
    assert taught(tmp_path / "killed") == 130
    assert "--resume" in capsys.readouterr().err
    monkeypatch.setattr(demonstrations, "demonstrate", lambda *given: (played.append(1), whole(*given))[1])
    assert train_command.main(["--resume", str(tmp_path / "killed")]) == 0
    assert len(played) == 7
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(value, weights(tmp_path / "killed")[name]), name


@pytest.mark.parametrize(
    ("teacher", "rounds", "told"),
    [("mpc:mine", "1", "mpc:own"), ("milp", "1", "mpc:perfect"), ("gredy", "1", "greedy")],
)
def test_a_teacher_that_cannot_label_is_refused(
    teacher: str, rounds: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert taught(tmp_path / "run", "--imitation.teacher", teacher, "--imitation.rounds", rounds) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "imitation.teacher" in last
    assert told in last
    assert not (tmp_path / "run" / "run.json").exists()
