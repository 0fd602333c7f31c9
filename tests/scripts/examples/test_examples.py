"""The examples of other libraries run, learn, and show the same world.

RLlib is not run here: it pins another Gymnasium, so it cannot be installed beside the rest.
"""

from __future__ import annotations

import math
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridai_env import scenario_names
from gridai_env.envs.env import GridAIEnv
from scripts.examples import common, lagrangian_ppo, multi_objective

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "scripts" / "examples"
SHORT = {"horizon_h": 24}
DAY = 24  # steps of an episode of two_sites


def alone(*command: str) -> str:
    """Run Python in a process of its own, warnings being errors; return what it printed."""
    # TorchRL's own collectors warn of their own base class when they are imported.
    known = ["-W", "ignore:Creating :DeprecationWarning"]
    done = subprocess.run(
        [sys.executable, "-W", "error", *known, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_tested_here() -> None:
    found = {path.stem for path in EXAMPLES.glob("[!_]*.py")} - {"common"}
    assert found == {
        "cleanrl_ppo",
        "lagrangian_ppo",
        "minari_cloning",
        "multi_objective",
        "optuna_sweep",
        "pettingzoo_sites",
        "rllib_ppo",
        "skrl_ppo",
        "torchrl_rollout",
    }


# Libraries with a training loop of their own ------------------------------------------------------------


# In processes of their own: both libraries change PyTorch for all when they are imported.


def test_torchrl_learns_from_the_batch() -> None:
    alone("tests/support/libraries.py", "torchrl")


def test_skrl_learns_from_the_batch_and_from_the_command_line(tmp_path: Path) -> None:
    out = alone("tests/support/libraries.py", "skrl", str(tmp_path / "run"))
    assert "a short training: 192 steps, seed 0" in out and "episodes of two_sites/validation" in out
    assert list((tmp_path / "run").glob("events*")), "skrl wrote no TensorBoard file"


def test_optuna_searches_settings_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna", reason="needs the extra examples")
    from scripts.examples import optuna_sweep

    words = [
        "--config",
        str(ROOT / "configs" / "agents" / "ppo_tiny.yaml"),
        "--steps",
        "96",
        "--episodes",
        "1",
    ]
    words += ["--study", str(tmp_path / "sweep.db")]
    assert optuna_sweep.main([*words, "--trials", "2"]) == 0
    first = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in first[:2]] == ["trial 0", "trial 1"]
    assert first[2].startswith("best: python -m scripts.train --config") and "--learning_rate" in first[2]
    assert optuna_sweep.main([*words, "--trials", "1"]) == 0
    assert capsys.readouterr().out.startswith("trial 2:")


def test_minari_data_is_cloned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight days of a rule teach a network to earn more than Local-Only; none of another name or world are taken."""
    minari = pytest.importorskip("minari", reason="needs the extra offline")
    pytest.importorskip("highspy", reason="needs the extra milp")
    import gymnasium as gym

    from scripts import demonstrate
    from scripts.examples import minari_cloning

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    words = ["--scenario", "two_sites", "--planner", "greedy", "--episodes", "8"]
    assert demonstrate.main([*words, "--run-dir", str(tmp_path / "run"), "--minari", "greedy-v0"]) == 0
    score = capsys.readouterr().out.split("score ")[1].split(" ")[0]
    assert minari_cloning.main(["--dataset", "greedy-v0", "--steps", "300"]) == 0
    out = capsys.readouterr().out
    assert f"greedy-v0: 8 episodes of gridai/TwoSites-v2, score {score}\n" in out
    gain = float(out.split("gain captured: ")[1].split("%")[0])
    assert 20.0 < gain < float(score), out

    assert minari_cloning.main(["--dataset", "greedy-v1"]) == 2
    assert "error: --dataset greedy-v1: " in capsys.readouterr().err
    spec = gym.spec("CartPole-v1")
    minari.dataset.minari_storage.MinariStorage.new(
        _folder(tmp_path / "minari" / "cart-v0"), env_spec=spec
    ).update_metadata({"dataset_id": "cart-v0", "minari_version": minari.__version__})
    assert minari_cloning.main(["--dataset", "cart-v0"]) == 2
    assert "--dataset cart-v0: is of no environment of gridai" in capsys.readouterr().err


def _folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path / "data"


# The loop in one file -------------------------------------------------------------------------------------


def cleanrl_run(seed: int, steps: int = 2 * 4 * DAY) -> tuple[list[float], list[object], list[object]]:
    """Losses, and weights before and after."""
    torch = pytest.importorskip("torch", reason="needs the extra rl")
    import gymnasium as gym

    from scripts.examples.cleanrl_ppo import GaussianPolicy, Hyperparameters, train

    torch.manual_seed(seed)
    envs = gym.make_vec("gridai/TwoSites-v2", num_envs=4, device="cpu", flat_observations=True)
    policy = GaussianPolicy(envs.layout.size, envs.single_action_space.shape[0], deviation=0.3)
    before = [weight.detach().clone() for weight in policy.parameters()]
    losses = train(envs, policy, Hyperparameters(), steps, seed)
    return losses, before, [weight.detach().clone() for weight in policy.parameters()]


def test_the_single_file_loop_learns_and_repeats_itself() -> None:
    import torch

    losses, before, after = cleanrl_run(seed=1)
    assert len(losses) == 2 and all(math.isfinite(loss) for loss in losses)
    for old, new in zip(before, after, strict=True):
        assert torch.isfinite(new).all() and not torch.equal(old, new)
    assert cleanrl_run(seed=1)[0] == losses
    assert cleanrl_run(seed=2)[0] != losses


def test_its_advantages_are_those_of_the_definition() -> None:
    """Sums of discounted errors up to the end of the episode, written out."""
    torch = pytest.importorskip("torch", reason="needs the extra rl")
    from scripts.examples.cleanrl_ppo import Hyperparameters, Rollout, advantages

    steps, envs = 7, 3
    generator = torch.Generator().manual_seed(0)
    rewards, values = (torch.randn(steps, envs, generator=generator, dtype=torch.float64) for _ in range(2))
    ended = (torch.rand(steps, envs, generator=generator) < 0.3).double()
    last = torch.randn(envs, generator=generator, dtype=torch.float64)
    empty = torch.zeros(0)
    rollout = Rollout(empty, empty, empty, values, rewards, ended, [])
    settings = Hyperparameters(gamma=0.9, gae_lambda=0.7)
    found = advantages(rollout, last, settings)
    following = torch.cat([values[1:], last[None]])
    for t in range(steps):
        for i in range(envs):
            wanted, weight = 0.0, 1.0
            for s in range(t, steps):
                over = bool(ended[s, i])
                wanted += weight * float(
                    rewards[s, i] + (0.0 if over else 0.9 * following[s, i]) - values[s, i]
                )
                if over:
                    break
                weight *= 0.9 * 0.7
            assert float(found[t, i]) == pytest.approx(wanted, abs=1e-12)


def test_the_gain_is_that_of_the_function(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Home is Local-Only, and where nothing is known of a scenario it is said."""
    torch = pytest.importorskip("torch", reason="needs the extra rl")
    from gridai_env.envs.action_space import home_action

    env = GridAIEnv("two_sites")
    home = torch.as_tensor(2.0 * home_action(env.compiled))[None]  # clipped

    def act(seen: object) -> object:
        assert seen.shape == (1, env.layout.size)  # type: ignore[attr-defined]
        return home

    common.print_gain(act, common.ExampleOptions(scenario="two_sites"))
    assert "gain captured: 0.0% [0.0%, 0.0%] on 24 episodes" in capsys.readouterr().out

    own = (ROOT / "configs" / "scenarios" / "two_sites.yaml").read_text(encoding="utf-8")
    (tmp_path / "own.yaml").write_text(own.replace("name: two_sites", "name: own", 1), encoding="utf-8")
    common.print_gain(act, common.ExampleOptions(scenario=str(tmp_path / "own.yaml")))
    assert "gain captured: unknown, scenario 'own' is none with frozen sets" in capsys.readouterr().out


# One agent per site ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", scenario_names())
def test_the_view_of_sites_is_a_parallel_env(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    from pettingzoo.test import parallel_api_test

    from scripts.examples.pettingzoo_sites import SiteAgents

    parallel_api_test(SiteAgents(GridAIEnv(scenario, **SHORT)), num_cycles=30)
    assert "Passed" in capsys.readouterr().out


@pytest.mark.parametrize("scenario", scenario_names())
def test_any_action_is_a_joint_action(scenario: str) -> None:
    from scripts.examples.pettingzoo_sites import SiteAgents

    view = SiteAgents(GridAIEnv(scenario, **SHORT))
    rng = np.random.default_rng(0)
    for _ in range(5):
        action = rng.uniform(-1.0, 1.0, view.env.action_space.shape).astype(np.float32)
        assert np.array_equal(view.joint(view.split(action)), action)


def test_sites_together_play_what_the_single_agent_plays() -> None:
    from scripts.examples.pettingzoo_sites import SiteAgents

    view, single = SiteAgents(GridAIEnv("microgrid_prosumer")), GridAIEnv("microgrid_prosumer")
    views, _ = view.reset(seed=5)
    observation, _ = single.reset(seed=5)
    rng = np.random.default_rng(1)
    while view.agents:
        assert np.array_equal(view.state(), single.layout.flatten(observation))
        for name in view.agents:
            assert view.observation_space(name).contains(views[name])
        action = rng.uniform(-1.0, 1.0, single.action_space.shape).astype(np.float32)
        observation, reward, terminated, _, info = single.step(action)
        views, rewards, ends, _, infos = view.step(view.split(action))
        assert set(rewards.values()) == {reward} and set(ends.values()) == {terminated}
        assert all(each == info for each in infos.values())


@pytest.mark.parametrize("scenario", ["microgrid_prosumer", "flexible_campus", "demand_response"])
def test_a_site_holds_and_sees_what_is_its_own(scenario: str) -> None:
    """By the names of the indices, not by the indices."""
    from scripts.examples.pettingzoo_sites import COMMON, SiteAgents

    view = SiteAgents(GridAIEnv(scenario))
    acts, sees = view.env.action_names, view.env.layout.index_names()
    homes = {region.name: region.home for region in view.env.compiled.scenario.regions}
    for site in view.possible_agents:
        for index in np.concatenate(list(view.acts_on[site].values())):
            part, *path = acts[index].split("/")
            if path[-1] in ("hold", "refuse"):
                assert homes[path[0]] == site
            else:
                assert path[-1] in (site, "wait") and (path[-1] == site or part == "jobs")
        for index in np.concatenate(list(view.sees[site].values())):
            part, *path = sees[index].split("/")
            features = ("present", "gpus", "duration", "slack", "value")
            of_jobs, of_contract = part == "jobs" and path[-1] in features, path[-1].startswith(f"{site}-")
            assert part in COMMON or site in path or of_jobs or of_contract
    seen = np.concatenate([np.concatenate(list(parts.values())) for parts in view.sees.values()])
    assert set(seen) == set(range(len(sees)))
    held = np.concatenate([np.concatenate(list(parts.values())) for parts in view.acts_on.values()])
    assert set(held) == set(range(len(acts)))


def test_the_mean_of_all_sites_decides_what_all_hold() -> None:
    from scripts.examples.pettingzoo_sites import SiteAgents

    view = SiteAgents(GridAIEnv("microgrid_prosumer"))
    actions = {name: np.full(space.shape, 0.3 * k, np.float32) for k, (name, space) in _numbered(view)}
    joint = dict(zip(view.env.action_names, view.joint(actions), strict=True))
    assert joint["jobs/slot0/wait"] == pytest.approx((0.0 + 0.3 + 0.6) / 3)
    for k, name in enumerate(view.possible_agents):
        assert joint[f"battery/{name}"] == joint[f"jobs/slot0/{name}"] == np.float32(0.3 * k)


def _numbered(view: object) -> list[tuple[int, tuple[str, object]]]:
    return list(enumerate(view.action_spaces.items()))  # type: ignore[attr-defined]


def test_wrong_joint_actions_are_refused() -> None:
    from scripts.examples.pettingzoo_sites import SiteAgents

    view = SiteAgents(GridAIEnv("two_sites"))
    view.reset(seed=0)
    actions = view.split(view.env.action_space.sample())
    with pytest.raises(ValueError, match="must be of all of"):
        view.step({"texas": actions["texas"]})
    with pytest.raises(ValueError, match=r"actions\['texas'\]: shape \(14,\), must be \(15,\)"):
        view.step(actions | {"texas": actions["texas"][1:]})


def test_sites_that_look_at_their_own_price_earn_more_than_random_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from scripts.examples import pettingzoo_sites

    assert pettingzoo_sites.main(["--steps", str(5 * DAY)]) == 0
    words = [line.split(": ")[1] for line in capsys.readouterr().out.splitlines() if "per episode" in line]
    random_usd, own_usd = (float(word.split(" USD")[0].replace(",", "")) for word in words)
    assert own_usd > random_usd


# A reward for each objective --------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", scenario_names())
def test_prices_times_objectives_are_the_reward(scenario: str) -> None:
    env, plain = multi_objective.VectorReward(scenario, **SHORT), GridAIEnv(scenario, **SHORT)
    assert env.reward_space.shape == env.prices.shape == (env.reward_dim,) == (3,)
    env.reset(seed=2)
    plain.reset(seed=2)
    rng = np.random.default_rng(3)
    over = False
    while not over:
        action = rng.uniform(-1.0, 1.0, env.action_space.shape).astype(np.float32)
        _, vector, over, _, info = env.step(action)
        reward = plain.step(action)[1]
        assert env.reward_space.contains(vector) and vector[1] <= 0.0 and vector[2] <= 0.0
        assert vector @ env.prices == pytest.approx(reward, rel=1e-9, abs=1e-9)
        assert info["reward"] == reward
        scale = env.compiled.scenario.reward_scale_usd
        assert -vector[1] * scale == pytest.approx(info["emissions_kg"])


def test_service_counts_each_row_by_its_penalty() -> None:
    """Against the flows themselves: work dropped in a row over the mean penalty."""
    env = multi_objective.VectorReward("two_sites")
    env.reset(seed=0)
    layout = dict(zip(env.action_names, range(len(env.action_names)), strict=True))
    action = np.zeros(env.action_space.shape, dtype=np.float32)
    for name, index in layout.items():
        if name.endswith("/refuse"):
            action[index] = 0.75  # half of the work on hand
    on_hand = env.simulator.exogenous.arrivals_gpuh[0] + env.simulator.state.backlog_gpuh[0]
    _, vector, _, _, info = env.step(action)
    assert info["dropped_gpuh"] == pytest.approx(0.5 * on_hand.sum())  # nothing else was dropped
    rows_usd = env.compiled.params.drop_usd_per_gpuh
    wanted = (0.5 * on_hand * rows_usd).sum() / rows_usd.mean()
    assert -vector[2] * env.compiled.scenario.reward_scale_usd == pytest.approx(wanted)


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=8))
def test_undominated_points_are_those_that_nothing_beats(points: list[tuple[int, ...]]) -> None:
    def beats(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
        return a != b and all(x >= y for x, y in zip(a, b, strict=True))

    wanted = [not any(beats(a, b) for a in points) for b in points]
    assert multi_objective.undominated(np.array(points, dtype=float)).tolist() == wanted


def test_the_multi_objective_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert multi_objective.main(["--steps", str(2 * DAY), "--rules", "local_only", "carbon_only"]) == 0
    out = capsys.readouterr().out
    assert "local_only" in out and "not dominated" in out
    assert "best at 2,000 USD per t of CO2: carbon_only" in out


# Command lines -----------------------------------------------------------------------------------------------


def test_a_budget_that_is_too_small_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert multi_objective.main(["--steps", "3"]) == 2
    assert (
        capsys.readouterr().err
        == "error: --steps 3: must be at least 24, what all environments play in one go\n"
    )


def test_an_unknown_scenario_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert multi_objective.main(["--scenario", "nowhere"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "nowhere" in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--num-envs", "0"], "--num-envs 0: must be a whole number, at least 1"),
        (["--steps", "many"], "--steps 'many': must be a whole number, at least 1"),
        (["--seed", "-1"], "--seed -1: must be a whole number, at least 0"),
    ],
)
def test_impossible_numbers_are_refused(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from scripts.examples import cleanrl_ppo

    assert cleanrl_ppo.main(words) == 2
    assert reason in capsys.readouterr().err


def test_an_impossible_device_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    from scripts.examples import cleanrl_ppo

    assert cleanrl_ppo.main(["--device", "nowhere"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: device = 'nowhere': ") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("example", "library", "command"),
    [
        ("cleanrl_ppo", "torch", common.PIP),
        ("skrl_ppo", "skrl", common.PIP),
        ("torchrl_rollout", "tensordict", common.PIP),
        ("pettingzoo_sites", "pettingzoo", common.PIP),
        ("optuna_sweep", "optuna", common.PIP),
        ("minari_cloning", "minari", "pip install -c constraints.txt -e '.[offline]'"),
        ("rllib_ppo", "ray", "pip install -r scripts/examples/requirements-rllib.txt"),
    ],
)
def test_a_missing_library_is_named_with_its_command(
    example: str,
    library: str,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"scripts.examples.{example}", raising=False)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module(f"scripts.examples.{example}", run_name="__main__")
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert f"needs {library}" in error and command in error


def test_rllib_has_its_own_requirements() -> None:
    """As the docstring of the example says what was seen with them."""
    lines = (EXAMPLES / "requirements-rllib.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert next(iter(pins)) == "torch"
    text = (EXAMPLES / "rllib_ppo.py").read_text(encoding="utf-8")
    for name in ("ray[rllib]", "gymnasium", "numpy", "torch"):
        assert f"{name.removesuffix('[rllib]')} {pins[name]}" in text


# Safe reinforcement learning ----------------------------------------------------------------------------


def test_a_multiplier_follows_the_cost_of_episodes() -> None:
    multiplier = lagrangian_ppo.Multiplier(budget=100.0, rate=0.5)
    multiplier.costs += [150.0, 250.0]
    multiplier.update()
    assert multiplier.value == pytest.approx(0.5) and multiplier.costs == []
    multiplier.update()
    assert multiplier.value == pytest.approx(0.5)
    for _ in range(3):
        multiplier.costs.append(0.0)
        multiplier.update()
    assert multiplier.value == 0.0


def test_what_is_learned_from_is_the_reward_less_the_charge() -> None:
    options = lagrangian_ppo.LagrangianOptions(scenario="two_sites", budget=50.0)
    scenario = lagrangian_ppo.constrained(options)
    multiplier = lagrangian_ppo.Multiplier(budget=50.0, rate=0.1, value=2.0)
    charged, plain = lagrangian_ppo.Charged(GridAIEnv(scenario), multiplier), GridAIEnv("two_sites")
    charged.reset(seed=4)
    plain.reset(seed=4)
    rng, total = np.random.default_rng(5), 0.0
    for _ in range(DAY):
        action = rng.uniform(-1.0, 1.0, charged.action_space.shape).astype(np.float32)
        _, reward, _, _, info = charged.step(action)
        _, usual, _, _, known = plain.step(action)
        assert info["cost"] == known["dropped_gpuh"] and known["cost"] == 0.0
        assert reward == pytest.approx(usual - 2.0 * info["cost"] / 50.0)
        total += info["cost"]
    assert total > 0.0 and multiplier.costs == [pytest.approx(total)]


def test_the_lagrangian_example_says_what_it_came_to(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--scenario", "two_sites", "--steps", "384", "--num-envs", "4", "--budget", "100"]
    assert lagrangian_ppo.main(words) == 0
    printed = capsys.readouterr().out
    assert "multiplier" in printed and "gain captured:" in printed and "within the budget" in printed
