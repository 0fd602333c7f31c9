"""Policies that others have made: Python code and files of Stable-Baselines3, by name on the command line."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.wrappers import FlattenObservation, RescaleAction
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from agents.vec_env.actions import ActiveActions
from agents.vec_env.adapter import GridAIVecEnv
from gridai_env import ActiveAction, GridAIEnv, GridAIVectorEnv, RememberForecasts, make_instance
from gridai_env.observation.layout import ObservationLayout
from gridai_env.rollout import run
from gridai_env.rollout.policy import PolicyError
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import load_scenario
from scripts import compare
from scripts.runs.command import InputError
from scripts.studies.policies import checkpoint_of, checkpoints, find_contender, find_entrants

MODULE = "py:tests.support.judged_policies:"
COMPILED = compile_scenario(load_scenario("two_sites"))
INSTANCE = make_instance("two_sites", seed=0)


def message(name: str, compiled: Any = COMPILED) -> str:
    with pytest.raises((InputError, PolicyError)) as error:
        find_contender(name, compiled)
    assert "\n" not in str(error.value)
    return str(error.value)


# Python -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factory", ["Home", "without_environment", "ready"])
def test_a_factory_takes_the_environment_or_nothing(factory: str) -> None:
    played, _ = find_contender(MODULE + factory, COMPILED).play(INSTANCE, 0)
    assert played is not None and played.policy == MODULE + factory
    assert not np.any(played.actions)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (MODULE + "unfinished", r"RuntimeError: no weights \("),
        (MODULE + "Empty", "must have predict(observation, state, episode_start, deterministic)"),
        (
            MODULE + "Nobody",
            "AttributeError: module 'tests.support.judged_policies' has no attribute 'Nobody'",
        ),
        ("py:no_such_module:X", "ModuleNotFoundError: No module named 'no_such_module' (working folder"),
        ("py:judged_policies", "must be py:module:Factory"),
        ("py:my-policy:X", "must be py:module:Factory"),
    ],
)
def test_code_that_makes_no_policy_is_one_line(name: str, text: str) -> None:
    assert text.replace("\\", "") in message(name)


def test_errors_while_playing_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        PolicyError, match=r"returned ndarray; predict must return \(action, memory\): 30 numb"
    ):
        find_contender(MODULE + "Silent", COMPILED).play(INSTANCE, 0)
    words = [
        "--scenario",
        "two_sites",
        "--seeds",
        "0",
        "--horizon-h",
        "3",
        "--run-dir",
        str(tmp_path / "run"),
    ]
    assert compare.main([*words, "--policy", MODULE + "Broken"]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: py:") and "Broken: KeyError: 'price\\nof tomorrow' (" in last
    monkeypatch.setenv("GRIDAI_DEBUG", "1")
    with pytest.raises(KeyError):
        run(find_contender(MODULE + "Broken", COMPILED).decider, INSTANCE)


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("def reseed(self, seed): return {}[seed]", "KeyError: 0 ("),
        ("def begin(self, instance): return 1 / 0", "ZeroDivisionError: division by zero ("),
        ("reseed = 3", "TypeError: 'int' object is not callable ("),
    ],
)
def test_errors_before_the_first_step_are_one_line(
    method: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = "def predict(self, observation, state, episode_start, deterministic): return [0.0] * 30, None"
    module = f"odd_policy_{len(text)}"
    (tmp_path / f"{module}.py").write_text(f"class Odd:\n    {method}\n    {predict}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        find_contender(f"py:{module}:Odd", COMPILED).play(INSTANCE, 0)
    assert str(error.value).startswith(f"py:{module}:Odd: {text}") and "\n" not in str(error.value)


def test_an_environment_is_no_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gives_environment.py").write_text("def same(env): return env", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert "must have predict(observation" in message("py:gives_environment:same")


def test_a_changed_module_is_another_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "passing_fancy.py"
    file.write_text("class One: ...", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    before = checkpoint_of("py:passing_fancy:One")
    file.write_text("class One:\n    x = 1", encoding="utf-8")
    assert before and checkpoint_of("py:passing_fancy:One") != before
    assert checkpoints(["greedy", "py:passing_fancy:One"]).keys() == {"py:passing_fancy:One"}


# Stable-Baselines3 --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of a few steps: flat with active actions, normalized, Dict with all actions, recurrent."""
    folder = tmp_path_factory.mktemp("models")
    batch = GridAIVectorEnv(2, scenario="two_sites", flat_observations=True)
    flat = GridAIVecEnv(batch, ActiveActions.of(batch.compiled, may_refuse=False))
    small: dict[str, Any] = {"device": "cpu", "policy_kwargs": {"net_arch": [8]}, "seed": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Stable-Baselines3 makes the folders and says so
        PPO("MlpPolicy", flat, n_steps=12, batch_size=24, **small).learn(24).save(
            folder / "flat" / "model.zip"
        )
        normalized = VecNormalize(flat)
        model = PPO("MlpPolicy", normalized, n_steps=12, batch_size=24, **small).learn(24)
        model.save(folder / "normalized" / "model.zip")
        normalized.save(str(folder / "normalized" / "vecnormalize.pkl"))
        SAC(
            "MultiInputPolicy",
            GridAIEnv("two_sites"),
            learning_starts=4,
            buffer_size=16,
            batch_size=4,
            **small,
        ).learn(8).save(folder / "dict" / "model.zip")
    return folder


@pytest.fixture
def normalized(folder: Path) -> Iterator[Path]:
    """The normalization, to be changed."""
    path = folder / "normalized" / "vecnormalize.pkl"
    whole = path.read_bytes()
    yield path
    path.write_bytes(whole)


def first_action(name: str) -> Any:
    played, _ = find_contender(name, COMPILED).play(INSTANCE, 0)
    assert played is not None and played.actions is not None
    return played.actions[0]


def observed() -> Any:
    return GridAIEnv("two_sites").reset(options={"instance": INSTANCE})[0]


def test_active_actions_and_flat_observations(folder: Path) -> None:
    path = folder / "flat" / "model.zip"
    seen = ObservationLayout(COMPILED).flatten(observed())
    numbers, _ = PPO.load(path).predict(seen, deterministic=True)
    wanted = ActiveActions.of(COMPILED, may_refuse=False).expand(numbers)
    np.testing.assert_array_equal(first_action(f"sb3:ppo:{path}"), wanted)
    assert find_entrants([f"sb3:ppo:{folder / 'flat'}"], "two_sites")[0].runs == (f"sb3:ppo:{path}",)
    np.testing.assert_array_equal(first_action(f"sb3:PPO:{path.with_suffix('')}"), wanted)


def test_dict_observations_and_all_actions(folder: Path) -> None:
    path = folder / "dict" / "model.zip"
    wanted, _ = SAC.load(path).predict(observed(), deterministic=True)
    np.testing.assert_array_equal(first_action(f"sb3:sac:{path}"), wanted)


def test_observations_are_normalized_as_in_training(folder: Path, normalized: Path) -> None:
    name = f"sb3:ppo:{folder / 'normalized' / 'model.zip'}"
    statistics = pickle.loads(normalized.read_bytes())
    seen = ObservationLayout(COMPILED).flatten(observed())
    scaled = np.clip(
        (seen - statistics.obs_rms.mean) / np.sqrt(statistics.obs_rms.var + statistics.epsilon), -10.0, 10.0
    ).astype(np.float32)
    assert np.abs(scaled - seen).max() > 0.5
    numbers, _ = PPO.load(folder / "normalized" / "model.zip").predict(scaled, deterministic=True)
    wanted = ActiveActions.of(COMPILED, may_refuse=False).expand(numbers)
    np.testing.assert_array_equal(first_action(name), wanted)

    before = checkpoint_of(name)
    normalized.write_bytes(normalized.read_bytes() + b"another")
    assert checkpoint_of(name) != before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sb3:ppo:missing", "no such file; must be sb3:ALGO:FILE"),
        ("sb3:ppo", "no such file; must be sb3:ALGO:FILE"),
        ("sb3:pop:{}/flat/model.zip", "no algorithm 'pop' (did you mean 'ppo'"),
        ("sb3:sac:{}/flat/model.zip", "or was it trained by another than sac?"),
        ("sb3:ppo:{}/normalized/vecnormalize.pkl", "not a readable checkpoint"),
    ],
)
def test_files_that_are_no_model_are_one_line(name: str, text: str, folder: Path) -> None:
    assert text in message(name.format(folder))


def test_models_of_another_scenario_are_refused_with_both_shapes(folder: Path) -> None:
    other = compile_scenario(load_scenario("four_markets"))
    size = ObservationLayout(COMPILED).size
    text = message(f"sb3:ppo:{folder / 'flat' / 'model.zip'}", other)
    assert f"reads {size} numbers, scenario 'four_markets' shows a Dict of" in text
    assert f"flat, {ObservationLayout(other).size} numbers" in text


def test_damaged_normalizations_are_one_line(folder: Path, normalized: Path) -> None:
    name = f"sb3:ppo:{folder / 'normalized' / 'model.zip'}"
    for content, text in ((b"x", "not a saved VecNormalize ("), (pickle.dumps({}), "is a dict, not a saved")):
        normalized.write_bytes(content)
        assert text in message(name)


def test_a_model_whose_normalization_is_missing_or_of_another_form_is_refused(
    folder: Path, normalized: Path
) -> None:
    name = f"sb3:ppo:{folder / 'normalized' / 'model.zip'}"
    size = ObservationLayout(COMPILED).size
    around = {"dict": DummyVecEnv([lambda: GridAIEnv("two_sites")])}
    around["flat"] = DummyVecEnv([lambda: FlattenObservation(GridAIEnv("two_sites"))])
    normalized.write_bytes(pickle.dumps(VecNormalize(around["dict"])))
    assert f"of a Dict of {size} numbers, the model reads {size} numbers" in message(name)
    normalized.write_bytes(pickle.dumps(VecNormalize(around["flat"], norm_obs=False)))
    assert "was trained on changed observations (VecNormalize" in message(name)
    normalized.unlink()
    assert f"save the VecNormalize as {normalized}" in message(name)


def test_a_model_of_another_range_of_actions_is_refused(tmp_path: Path) -> None:
    env = RescaleAction(FlattenObservation(GridAIEnv("two_sites")), np.float32(0.0), np.float32(1.0))
    PPO("MlpPolicy", env, device="cpu").save(tmp_path / "model.zip")
    text = message(f"sb3:ppo:{tmp_path / 'model.zip'}")
    assert "returns numbers in [0, 1], must be in [-1, 1]" in text


def test_comparisons_notice_another_file(folder: Path, normalized: Path, tmp_path: Path) -> None:
    """A folder of another file is not gone on with."""
    names = [f"sb3:ppo:{folder / 'normalized' / 'model.zip'}", MODULE + "Home"]
    words = [
        "--scenario",
        "two_sites",
        "--policies",
        *names,
        "--run-dir",
        str(tmp_path / "out"),
        "--horizon-h",
        "2",
    ]
    assert compare.main([*words, "--seeds", "0"]) == 0
    normalized.write_bytes(normalized.read_bytes() + b"another")
    assert compare.main([*words, "--seeds", "0", "1", "--continue"]) == 2


SHORT = load_scenario("two_sites", horizon_h=4.0)
FORMS: dict[str, Callable[[], Any]] = {
    "dict": lambda: GridAIEnv(SHORT),
    "flat": lambda: ActiveAction(FlattenObservation(GridAIEnv(SHORT))),
    "remembered": lambda: ActiveAction(RememberForecasts(FlattenObservation(GridAIEnv(SHORT)))),
}


def benefit_in_training(model: Any, env: VecNormalize, instance: Any) -> float:
    """Return what a model earns in the environment of its training, statistics kept."""
    env.training = env.norm_reward = False
    env.set_options({"instance": instance})
    observation, state, earned, over = env.reset(), None, 0.0, np.ones(1, dtype=np.bool_)
    for _ in range(instance.steps):
        actions, state = model.predict(observation, state, over, deterministic=True)
        observation, reward, over, _ = env.step(actions)
        earned += float(reward[0])
    assert over.all()
    return earned


@pytest.mark.parametrize(
    ("algorithm", "form"), [("tqc", "dict"), ("recurrentppo", "remembered"), ("ars", "flat")]
)
def test_models_of_any_algorithm_play_as_in_training(algorithm: str, form: str, tmp_path: Path) -> None:
    """Active actions, remembered forecasts, normalization, state of recurrent networks, all together."""
    contrib = pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed")
    classes = {"tqc": contrib.TQC, "recurrentppo": contrib.RecurrentPPO, "ars": contrib.ARS}
    policy = {"tqc": "MultiInputPolicy", "recurrentppo": "MlpLstmPolicy", "ars": "LinearPolicy"}[algorithm]
    env = VecNormalize(DummyVecEnv([FORMS[form]]))
    small: dict[str, Any] = {"lstm_hidden_size": 4} if algorithm == "recurrentppo" else {}
    nets = {"policy_kwargs": small | {"net_arch": [4]}} if algorithm != "ars" else {}
    model = classes[algorithm](policy, env, device="cpu", seed=0, **nets)
    for _ in range(3):
        env.reset()  # something to normalize by
    model.save(tmp_path / "model.zip")
    env.save(str(tmp_path / "vecnormalize.pkl"))

    instance = make_instance(SHORT, seed=5)
    name = f"sb3:{algorithm}:{tmp_path / 'model.zip'}"
    played, _ = find_contender(name, instance.compiled).play(instance, 0)
    assert played is not None
    assert played.rewards.sum() == pytest.approx(benefit_in_training(model, env, instance), rel=1e-5)
