"""The single environment: what checkers ask, episodes, figures, arguments, states, bad input."""

import copy
import inspect
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import yaml
from gymnasium.error import DeprecatedEnv, ResetNeeded
from gymnasium.utils.env_checker import check_env

import gridai_env
from gridai_env.envs.env import GridAIEnv
from gridai_env.envs.step_figures import KEYS
from gridai_env.envs.vector_env import GridAIVectorEnv
from gridai_env.envs.wrappers import DictAction
from gridai_env.episodes.instance import make_instance
from gridai_env.scenario.load import load_scenario, parse_scenario, scenario_folder
from gridai_env.world.terms import BILL, TERMS
from tests.support.small_scenario import flexible, small

ROOT = Path(__file__).resolve().parents[3]
IDS = ("TwoSites", "FourMarkets", "MicrogridProsumer", "EnergyGeography", "Global")
CUSTOM = str(scenario_folder() / "two_sites.yaml")


def _make(id_: str) -> gym.Env[Any, Any]:
    return gym.make(f"gridai/{id_}-v2", **({"scenario": CUSTOM} if id_ == "Custom" else {}))


def _play(env: gym.Env[Any, Any], steps: int, seed: int = 0) -> list[Any]:
    """Results of random actions."""
    rng = np.random.default_rng(seed)
    size = env.action_space.shape[0]  # type: ignore[index]
    return [env.step(rng.uniform(-1.0, 1.0, size).astype(np.float32)) for _ in range(steps)]


def _bytes(results: list[Any]) -> list[Any]:
    """The same in a form that compares bit for bit."""
    return [({k: v.tobytes() for k, v in r[0].items()}, *r[1:]) for r in results]


@pytest.mark.parametrize("id_", [*IDS, "Custom"])
def test_checker_of_gymnasium(id_: str) -> None:
    pytest.importorskip("matplotlib", reason="the checker draws a picture: needs the extra 'render'")
    check_env(_make(id_).unwrapped)


@pytest.mark.parametrize("id_", [*IDS, "Custom"])
def test_checker_of_sb3(id_: str) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker", reason="needs the extra 'rl'")
    checker.check_env(_make(id_))
    checker.check_env(gym.wrappers.FlattenObservation(_make(id_)))


def test_ids_are_registered_once_and_found_through_the_module() -> None:
    gridai_env._register()
    assert {f"gridai/{id_}-v2" for id_ in (*IDS, "Custom")} <= set(gym.registry)
    code = "import gymnasium as gym; gym.make('gridai_env:gridai/TwoSites-v2').reset(seed=1); print('made')"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "made", done.stderr


def test_the_docstring_lists_every_part_figure_and_argument() -> None:
    text = GridAIEnv.__doc__ or ""
    observations = text.split("## Observation Space")[1].split("## Rewards")[0]
    listed = {
        line.split("|")[1].strip() for line in observations.splitlines() if line.strip().startswith("| ")
    }
    parts = {name for id_ in IDS for name in _make(id_).observation_space}
    # Limits of export fail in no shipped scenario, and none has all kinds of lines.
    parts |= {name for world in (small, flexible) for name in GridAIEnv(world().scenario).observation_space}
    assert listed - {"key"} == parts
    assert all(key.removeprefix("terms/").removesuffix("_usd") in text for key in KEYS)
    for name, parameter in inspect.signature(GridAIEnv).parameters.items():
        assert f"``{name}={parameter.default!r}``".replace("'", '"') in text


def test_import_is_light() -> None:
    """The target is half a second; the bound leaves room for a loaded machine, the best of three counts."""
    code = "import time; t = time.process_time(); import gridai_env; print(time.process_time() - t)"
    command = [sys.executable, "-c", code]
    seconds = [
        float(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout) for _ in range(3)
    ]
    assert min(seconds) < 1.0


def test_public_names() -> None:
    for name in gridai_env.__all__:
        assert getattr(gridai_env, name) is not None
    assert set(gridai_env.__all__) <= set(dir(gridai_env))
    with pytest.raises(AttributeError, match="nothing"):
        _ = gridai_env.nothing
    assert f'\n__version__ = "{gridai_env.__version__}"\n' in (ROOT / "gridai_env/version.py").read_text()


def test_one_version_of_the_environments() -> None:
    versions = {int(name.rsplit("-v", 1)[1]) for name in gridai_env.IDS}
    assert versions == {gridai_env.environment_version()}
    written = [
        path.relative_to(ROOT).as_posix()
        for folder in ("gridai_env", "agents", "baselines", "scripts")
        for path in (ROOT / folder).rglob("*.py")
        if "def environment_version" in path.read_text(encoding="utf-8")
    ]
    assert written == ["gridai_env/version.py"]


@pytest.mark.filterwarnings("ignore:.*out of date")
@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
@pytest.mark.parametrize("id_", [*IDS, "Custom"])
def test_the_version_before_is_refused_with_the_reason(make: Callable[..., Any], id_: str) -> None:
    with pytest.raises(DeprecatedEnv, match="v1: forecasts changed") as refused:
        make(f"gridai/{id_}-v1", horizon_h=24.0)
    assert "\n" not in str(refused.value) and str(refused.value).endswith(f"use gridai/{id_}-v2")


@pytest.mark.parametrize("id_", IDS)
def test_an_episode_terminates_at_its_horizon(id_: str) -> None:
    env = _make(id_)
    steps = env.unwrapped.compiled.shape.steps  # type: ignore[attr-defined]
    env.reset(seed=0)
    results = _play(env, steps)
    assert [r[2] for r in results] == [False] * (steps - 1) + [True]
    assert all(r[3] is False for r in results)
    assert all(type(r[1]) is float and type(r[2]) is bool for r in results)
    with pytest.raises(ResetNeeded, match="over"):
        env.step(env.action_space.sample())
    env.reset()
    assert _play(env, 1)[0][2] is False


@pytest.mark.parametrize("id_", IDS)
def test_figures_add_up(id_: str) -> None:
    env = _make(id_)
    compiled = env.unwrapped.compiled  # type: ignore[attr-defined]
    _, first = env.reset(seed=1)
    results = _play(env, compiled.shape.steps)
    waiting = 0.0
    for _, reward, _, _, info in results:
        terms = {name: info[f"terms/{name}_usd"] for name in TERMS}
        size = sum(map(abs, terms.values()))
        assert abs(info["benefit_usd"] - sum(terms.values())) <= 1e-9 * size
        assert reward == info["benefit_usd"] / compiled.scenario.reward_scale_usd
        assert abs(info["bill_usd"] + sum(terms[name] for name in BILL)) <= 1e-9 * size
        work = info["arrived_gpuh"] + waiting - info["served_gpuh"] - info["dropped_gpuh"]
        assert abs(work - info["backlog_gpuh"]) <= 1e-9 * info["arrived_gpuh"]
        waiting = info["backlog_gpuh"]
        billed = "marginal" if compiled.scenario.carbon_signal == "marginal" else "average"
        assert info["emissions_kg"] == info[f"emissions_{billed}_kg"]
    infos = [r[4] for r in results]
    for key in KEYS:
        assert first[key] == first[f"episode/{key}"] == 0.0
        values = [info[key] for info in infos]
        totals = values if key == "backlog_gpuh" else np.cumsum(values)
        np.testing.assert_allclose([i[f"episode/{key}"] for i in infos], totals, rtol=1e-9, atol=1e-9)


def test_info_is_flat_and_numeric() -> None:
    env = _make("Global")
    _, info = env.reset(seed=2)
    for record in (info, _play(env, 1)[0][4]):
        assert all(type(value) in (int, float) for value in record.values())
        assert json.loads(json.dumps(record)) == record


def test_every_call_returns_new_data_and_leaves_the_action_alone() -> None:
    env = _make("TwoSites")
    before, _ = env.reset(seed=0)
    kept = copy.deepcopy(before)
    action = env.action_space.sample()
    given = action.copy()
    after = env.step(action)[0]
    assert np.array_equal(action, given)
    assert all(np.array_equal(before[key], kept[key]) for key in kept)
    assert not any(np.shares_memory(a, b) for a in before.values() for b in after.values())


def test_episodes_are_those_of_make_instance() -> None:
    env = GridAIEnv("four_markets")
    for seed in (0, 1, 12345):
        _, info = env.reset(seed=seed)
        assert info["instance_seed"] == env.instance.seed == seed
        assert env.instance.hash == make_instance("four_markets", seed).hash
    _, info = env.reset()
    assert env.instance.hash == make_instance("four_markets", info["instance_seed"]).hash


# Arguments --------------------------------------------------------------------------------------


def test_overrides() -> None:
    env = gym.make("gridai/FourMarkets-v2", horizon_h=24.0, forecast="perfect", carbon_price_usd_per_t=120.0)
    compiled = env.unwrapped.compiled  # type: ignore[attr-defined]
    scenario = compiled.scenario
    assert scenario == load_scenario(
        "four_markets", horizon_h=24.0, forecast="perfect", carbon_price_usd_per_t=120.0
    )
    tight = GridAIEnv("four_markets", latency_scale=0.05).compiled
    assert tight.params.route_open.sum() < compiled.params.route_open.sum()


def test_a_scenario_may_be_a_path_a_dict_or_a_scenario() -> None:
    data = yaml.safe_load(Path(CUSTOM).read_text())
    hashes = {
        GridAIEnv(s).compiled.hash
        for s in (CUSTOM, Path(CUSTOM), data, load_scenario("two_sites"), "two_sites")
    }
    assert len(hashes) == 1


@pytest.mark.parametrize("as_file", [False, True])
def test_a_fixed_instance(as_file: bool, tmp_path: Path) -> None:
    instance = make_instance("two_sites", seed=77)
    given: Any = str(instance.save(tmp_path / "episode.npz")) if as_file else instance
    env = gym.make("gridai/TwoSites-v2", instance=given)
    for seed in (None, 0, 5):
        _, info = env.reset(seed=seed)
        assert info["instance_seed"] == 77
        assert env.unwrapped.instance.hash == instance.hash  # type: ignore[attr-defined]


def test_an_instance_in_the_options() -> None:
    env = GridAIEnv("two_sites")
    instance = make_instance("two_sites", seed=5, carbon_price_usd_per_t=500.0)
    env.reset(seed=1, options={"instance": instance})
    assert env.instance.hash == instance.hash
    given = _bytes(_play(env, 24))
    alone = GridAIEnv(scenario=None, instance=instance)
    alone.reset()
    assert _bytes(_play(alone, 24)) == given
    env.reset(seed=1)
    assert env.instance.hash == make_instance("two_sites", 1).hash


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scenario": None}, "scenario: missing"),
        ({"scenario": "two_site"}, "two_sites"),
        ({"render_mode": "human"}, "render_mode = 'human'"),
        ({"horizon_h": 0.3}, "horizon_h"),
        ({"forecast": "oracle"}, "perfect"),
        ({"latency_scale": -1.0}, "latency_scale"),
        ({"carbon_price_usd_per_t": float("nan")}, "carbon_price_usd_per_t"),
        ({"traces": "nowhere.csv"}, "nowhere.csv"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        GridAIEnv(**arguments).reset(seed=0)


def test_instances_of_other_scenarios_are_refused() -> None:
    other = make_instance("four_markets", seed=0)
    with pytest.raises(ValueError, match=r"'four_markets'.*'two_sites'"):
        gym.make("gridai/TwoSites-v2", instance=other)
    with pytest.raises(ValueError, match="horizon_h: cannot be changed"):
        gym.make("gridai/FourMarkets-v2", instance=other, horizon_h=24.0)
    env = GridAIEnv("two_sites")
    env.reset(seed=3)
    before = env.instance.hash
    for wrong, message in (
        (other, "other sites"),
        (None, "instance = None: must be an Instance or the path"),
        (5, "instance = 5: must be"),
    ):
        with pytest.raises(ValueError, match=message):
            env.reset(options={"instance": wrong})
    with pytest.raises(FileNotFoundError, match=r"episode\.npz: no such instance file"):
        env.reset(options={"instance": "episode.npz"})
    with pytest.raises(ValueError, match="instance = 5: must be"):
        GridAIEnv("two_sites", instance=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'instnce'.*unknown; did you mean 'instance'"):
        env.reset(options={"instnce": other})
    assert env.instance.hash == before


def test_an_instance_of_the_options_may_be_a_file(tmp_path: Path) -> None:
    env, instance = GridAIEnv("two_sites"), make_instance("two_sites", seed=5)
    for path in (instance.save(tmp_path / "episode.npz"), str(tmp_path / "episode.npz")):
        _, info = env.reset(seed=1, options={"instance": path})
        assert info["instance_seed"] == 5
        assert env.instance.hash == instance.hash


def test_an_instance_must_be_shown_on_the_scales_of_the_environment() -> None:
    """Equal sizes are not enough: with a larger battery the same number would mean more energy."""
    data = yaml.safe_load(Path(CUSTOM).read_text())
    data["sites"][0]["battery"]["capacity_mwh"] *= 1.25
    env = GridAIEnv("two_sites")
    bigger = make_instance(parse_scenario(data, "bigger"), seed=0)
    assert bigger.compiled.shape == env.compiled.shape
    with pytest.raises(
        ValueError, match=r"other scales .*\(battery, battery_target\).*make the environment with inst"
    ):
        env.reset(options={"instance": bigger})
    dearer = make_instance("two_sites", seed=0, carbon_price_usd_per_t=1.0)
    env.reset(options={"instance": dearer})
    assert env.instance.hash == dearer.hash


def test_seeds_may_be_of_numpy() -> None:
    env = GridAIEnv("two_sites")
    for seed in (3, np.int64(3), np.uint8(3)):
        _, info = env.reset(seed=seed)  # type: ignore[arg-type]
        assert info["instance_seed"] == 3
    for wrong in (-1, 1.0, True, "3"):
        with pytest.raises(ValueError, match="must be an integer >= 0"):
            env.reset(seed=wrong)  # type: ignore[arg-type]


def test_steps_need_a_reset() -> None:
    env = GridAIEnv("two_sites")
    for use in (lambda: env.step(env.action_space.sample()), lambda: env.instance, env.get_state, env.render):
        with pytest.raises(ResetNeeded, match="call reset"):
            use()


def test_wrong_actions_change_nothing() -> None:
    env = GridAIEnv("two_sites")
    env.reset(seed=0)
    good = np.zeros(env.action_space.shape, dtype=np.float32)
    size = len(good)
    bad = {
        "nan": (
            np.where(np.arange(size) == 4, np.nan, good),
            r"action\[4\] = nan: must be a number in \[-1, 1\]; look for NaN in what made it",
        ),
        "infinite": (np.where(np.arange(size) == 2, -np.inf, good), r"action\[2\] = -inf.*; clip the action"),
        "above": (np.where(np.arange(size) == 0, 1.01, good), r"action\[0\] = 1.01"),
        "short": (good[:-1], rf"shape \({size - 1},\), must be \({size},\)"),
        "deep": (good[None], "shape"),
        "text": (good.astype(str), "type"),
        "nothing": (None, "shape"),
    }
    for action, message in bad.values():
        with pytest.raises(ValueError, match=message):
            env.step(action)
    assert env.simulator.t[0] == 0
    expected = GridAIEnv("two_sites")
    expected.reset(seed=0)
    assert _bytes([env.step(good)]) == _bytes([expected.step(good)])
    assert _bytes([env.step(good.tolist())]) == _bytes([expected.step(good)])


# States -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["two_sites", "microgrid_prosumer", "global"])
def test_state_can_be_taken_and_put_back(name: str) -> None:
    def go_on(env: GridAIEnv) -> list[Any]:
        rest = _play(env, 12 - int(env.simulator.t[0]), seed=1)
        observation, info = env.reset()
        return [
            *_bytes(rest),
            ({k: v.tobytes() for k, v in observation.items()}, info),
            *_bytes(_play(env, 3, seed=2)),
        ]

    env = GridAIEnv(name, horizon_h=12.0)
    env.reset(seed=8)
    _play(env, 5)
    state = pickle.loads(pickle.dumps(env.get_state()))
    copies = [copy.deepcopy(env), pickle.loads(pickle.dumps(env)), GridAIEnv(name, horizon_h=12.0)]
    copies[2].set_state(state)
    expected = go_on(env)
    assert all(go_on(each) == expected for each in copies)
    env.set_state(state)
    assert go_on(env) == expected


def test_a_state_keeps_its_picture() -> None:
    pytest.importorskip("matplotlib", reason="needs the extra 'render'")
    env = GridAIEnv("two_sites", render_mode="rgb_array")
    env.reset(seed=8)
    _play(env, 3)
    picture, state = env.render(), env.get_state()
    _play(env, 1)
    env.set_state(state)
    assert picture is not None
    assert picture.dtype == np.uint8
    assert np.array_equal(env.render(), picture)


def test_a_state_is_not_touched_by_what_follows() -> None:
    env = GridAIEnv("two_sites")
    env.reset(seed=8)
    state = env.get_state()
    frozen = pickle.dumps(state)
    _play(env, 3)
    env.reset()
    assert pickle.dumps(state) == frozen


# DictAction -------------------------------------------------------------------------------------


@pytest.mark.parametrize("id_", IDS)
def test_dict_action_and_back(id_: str) -> None:
    env = DictAction(_make(id_))
    plain = _make(id_)
    env.reset(seed=0)
    plain.reset(seed=0)
    for _ in range(3):
        action = plain.action_space.sample()
        named = env.reverse_action(action)
        assert named in env.action_space
        assert np.array_equal(env.action(named), action)
        assert _bytes([env.step(named)]) == _bytes([plain.step(action)])
        assert env.action_space.sample().keys() == named.keys()
    texts = env.to_names(named)
    assert list(texts) == env.unwrapped.action_names  # type: ignore[attr-defined]
    assert np.array_equal(env.action(env.from_names(texts)), action)
    for key, box in env.action_space.spaces.items():
        assert tuple(map(len, env.axis_names[key])) == box.shape


def test_dict_action_names_point_at_the_right_place() -> None:
    env = DictAction(_make("TwoSites"))
    action = env.from_names({"battery/texas": 0.5, "routing/south/batch-anywhere/hold": 1.0}, default=-0.25)
    assert action["battery"].tolist() == [-0.25, 0.5]
    place = (
        env.axis_names["routing"][0].index("south"),
        env.axis_names["routing"][1].index("batch-anywhere"),
        2,
    )
    assert action["routing"][place] == 1.0


def test_wrong_dict_actions() -> None:
    env = DictAction(_make("TwoSites"))
    good = env.reverse_action(np.zeros(env.env.action_space.shape))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="keys"):
        env.action({"battery": good["battery"]})
    with pytest.raises(ValueError, match=r"action\['battery'\]: shape"):
        env.action(good | {"battery": np.zeros(3)})
    with pytest.raises(ValueError, match="unknown index 'battery/mars'"):
        env.from_names({"battery/mars": 1.0})
    with pytest.raises(TypeError, match="gridai_env"):
        DictAction(gym.make("CartPole-v1"))
    with pytest.raises(ValueError, match="action space"):
        DictAction(gym.wrappers.RescaleAction(_make("TwoSites"), np.float32(0.0), np.float32(1.0)))


def test_render_without_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ["matplotlib", *(loaded for loaded in sys.modules if loaded.startswith("matplotlib."))]:
        monkeypatch.setitem(sys.modules, name, None)
    env = GridAIEnv("two_sites", render_mode="rgb_array")
    env.reset(seed=0)
    with pytest.raises(gym.error.DependencyNotInstalled, match="render"):
        env.render()


def test_a_reset_is_cheap() -> None:
    """A guard against files read again at every reset: a second reset is no slower than 200 steps."""
    env = GridAIEnv("global")
    env.reset(seed=0)
    began = time.process_time()
    env.reset(seed=1)
    reset_s = time.process_time() - began
    began = time.process_time()
    _play(env, 50)
    assert reset_s < 4.0 * (time.process_time() - began)


def test_works_from_any_folder(tmp_path: Path) -> None:
    code = "import gridai_env, gymnasium as gym; gym.make('gridai/Global-v2').reset(seed=0); print('done')"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "done", done.stderr


@pytest.mark.parametrize("make", [GridAIEnv, GridAIVectorEnv])
def test_a_misspelt_keyword_names_the_nearest_one(make: Any) -> None:
    with pytest.raises(
        TypeError, match=r"unexpected keyword argument 'trace'; did you mean 'traces'\?"
    ) as error:
        make(trace="synthetic")
    assert "\n" not in str(error.value)


def test_the_signatures_of_the_environments() -> None:
    """What completion and documentation show: one order for all, the batch's own keywords around it."""
    single, batch = (list(inspect.signature(make).parameters) for make in (GridAIEnv, GridAIVectorEnv))
    assert single[:2] == ["scenario", "traces"]
    assert batch[:3] == ["num_envs", "scenario", "traces"]
    assert set(single) < set(batch)
    assert GridAIVectorEnv(2, "two_sites").num_envs == 2
