"""Minari data sets of demonstrations hold what was played, bring back its environment, and its scores."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("minari", reason="needs the extra 'offline'")
pytest.importorskip("highspy", reason="needs the extra 'milp'")
pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")

import minari

from agents.imitation.demonstrations import Demonstration
from baselines.optimum.milp import solve
from baselines.rules.single_signal import LocalOnly
from gridai_env import make_instance
from gridai_env.analysis.statistics import gain_captured
from gridai_env.benchmarks.play import BoundError
from gridai_env.benchmarks.sets import restricted
from gridai_env.envs.env import GridAIEnv
from gridai_env.rollout.run import run
from gridai_env.scenario.load import load_scenario
from scripts import demonstrate
from scripts.runs import command
from scripts.studies import minari_data
from tests.support.own_world import write_prices, write_world

NAME, HOURS = "gridai/two_sites-greedy-v0", 6.0
SEEDS = range(1_000_000, 1_000_003)


@pytest.fixture(autouse=True)
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Minari keeps its data sets."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


def make(folder: Path, *words: str, name: str = NAME) -> int:
    own = ["--scenario", "two_sites", "--horizon-h", str(HOURS), "--planner", "greedy", "--episodes", "3"]
    return demonstrate.main([*own, "--run-dir", str(folder), "--minari", name, *words])


def replayed(env: Any, seed: int, actions: np.ndarray) -> tuple[list[Any], list[float], list[dict[str, Any]]]:
    """Observations, rewards and infos of a seed."""
    observation, info = env.reset(seed=seed)
    seen, rewards, infos = [observation], [], [info]
    for action in actions:
        observation, reward, *_, info = env.step(action)
        seen.append(observation)
        rewards.append(reward)
        infos.append(info)
    return seen, rewards, infos


def test_a_data_set_is_what_was_played(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = "https://example.org/code"
    assert make(tmp_path / "run", "--author", "me", "--code-permalink", link) == 0
    told = capsys.readouterr().out
    dataset = minari.load_dataset(NAME)
    assert f"Minari data set: {tmp_path / 'minari' / NAME}\n" in told
    assert list(minari.list_local_datasets()) == [NAME]
    assert (len(dataset), dataset.total_steps) == (3, 18)

    # Against the files of the run, and against an environment made by hand.
    files = [Demonstration.load(file) for file in (tmp_path / "run" / "episodes").glob("*.npz")]
    by_seed = {found.facts["seed"]: found for found in files}
    scenario = restricted(load_scenario("two_sites", horizon_h=HOURS))
    by_hand, recovered = GridAIEnv(scenario), dataset.recover_environment()
    assert recovered.spec is not None and recovered.spec.id == "gridai/TwoSites-v2"
    assert recovered.observation_space == dataset.observation_space == by_hand.observation_space
    metadata = list(dataset.storage.get_episode_metadata(range(3)))
    assert [one["seed"] for one in metadata] == list(SEEDS)
    returns = []
    for seed, episode in zip(SEEDS, dataset, strict=True):
        arrays = by_seed[seed].arrays
        flat = np.concatenate([episode.observations[name] for name in by_hand.layout.space()], axis=-1)
        assert np.array_equal(flat[:-1], arrays["observations"])
        assert np.array_equal(episode.actions, arrays["actions"])
        assert episode.terminations.tolist() == [False] * 5 + [True] and not episode.truncations.any()
        for env in (by_hand, recovered):
            seen, rewards, infos = replayed(env, seed, episode.actions)
            assert np.array_equal(episode.rewards, rewards)
            for name, values in episode.observations.items():
                assert np.array_equal(values, [each[name] for each in seen])
            for name in ("benefit_usd", "emissions_kg", "dropped_gpuh"):
                assert np.array_equal(episode.infos[name], [each[name] for each in infos])
            exports = [each["terms/export_usd"] for each in infos]
            assert np.array_equal(episode.infos["terms"]["export_usd"], exports)
        returns.append(episode.rewards.sum())
        scale = by_hand.compiled.reward_scale_usd
        assert returns[-1] * scale == pytest.approx(by_seed[seed].facts["benefit_usd"], rel=1e-12)

    # Scores: each reference solved and played here.
    instances = [make_instance(scenario, seed) for seed in SEEDS]
    local = np.array([run(LocalOnly(), each).rewards.sum() for each in instances])
    bound = np.array([solve(each, mip_gap=1e-3, threads=1).bound / scale for each in instances])
    assert [one["local_only_return"] for one in metadata] == pytest.approx(local.tolist(), rel=1e-12)
    assert [one["bound_return"] for one in metadata] == pytest.approx(bound.tolist(), rel=1e-9)
    score = minari.get_normalized_score(dataset, np.mean(returns))
    assert 0.0 < score < 1.0 and score == pytest.approx(gain_captured(returns, local, bound), rel=1e-9)
    assert minari.get_normalized_score(dataset, local.mean()) == pytest.approx(0.0, abs=1e-9)
    assert minari.get_normalized_score(dataset, bound.mean()) == pytest.approx(1.0, rel=1e-9)
    assert f"score {100 * score:.1f} (0: Local-Only" in told

    about = dataset.storage.metadata
    assert (about["author"], about["code_permalink"], about["algorithm_name"]) == ({"me"}, link, "greedy")
    assert "Plans of greedy in two_sites: 3 episodes of 6 h; days: the benchmark's" in about["description"]
    assert f"in USD over {scale:g} USD" in about["description"]
    assert about["num_episodes_average_score"] == 3


def test_own_scenarios_traces_and_starts_come_back(tmp_path: Path) -> None:
    prices = write_prices(tmp_path / "prices.csv")
    own = write_world(tmp_path / "mine")
    words = ["--scenario", str(own), "--traces", str(prices), "--planner", "price_only", "--episodes", "1"]
    start = "2024-03-02T05:00"  # no hour that a seed draws
    words += ["--start", start, "--run-dir", str(tmp_path / "run"), "--minari", "own-v3"]
    assert demonstrate.main(words) == 0
    dataset = minari.load_dataset("own-v3")
    env = dataset.recover_environment()
    assert env.spec is not None and env.spec.id == "gridai/Custom-v2"
    _, rewards, _ = replayed(env, 1_000_000, dataset[0].actions)
    assert str(env.unwrapped.instance.start_utc) == start  # type: ignore[attr-defined]
    assert np.array_equal(dataset[0].rewards, rewards)
    assert "author" not in dataset.storage.metadata


def test_a_stopped_writing_leaves_no_data_set_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, calls = minari_data.played, []

    def stopping(*given: Any) -> Any:
        calls.append(given)
        assert minari.list_local_datasets() == {}  # nobody sees half of it
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*given)

    monkeypatch.setattr(minari_data, "played", stopping)
    assert make(tmp_path / "run") == 130
    assert "3 of 3 episodes are kept; go on with --run-dir" in capsys.readouterr().err
    assert minari.list_local_datasets() == {} and not list((tmp_path / "minari").iterdir())

    # Episodes and bounds are kept.
    monkeypatch.setattr(minari_data, "refer", None)
    stamps = [file.stat().st_mtime_ns for file in (tmp_path / "run").glob("*/*")]
    assert len(stamps) == 6 and make(tmp_path / "run") == 0
    assert [file.stat().st_mtime_ns for file in (tmp_path / "run").glob("*/*")] == stamps
    assert minari.load_dataset(NAME).total_episodes == 3
    monkeypatch.undo()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))

    # A name is taken once; --overwrite computes everything again.
    assert make(tmp_path / "run") == 2
    assert f"--minari {NAME}: there is such a data set" in capsys.readouterr().err
    assert make(tmp_path / "run", "--overwrite", "--planner", "local_only") == 0
    assert minari.load_dataset(NAME).storage.metadata["algorithm_name"] == "local_only"
    assert "score 0.0 (0: Local-Only" in capsys.readouterr().out


def test_episodes_without_a_plan_are_left_out(tmp_path: Path) -> None:
    words = {"scenario": "two_sites", "horizon_h": HOURS, "planner": "greedy", "episodes": 2}
    options = demonstrate.DemonstrateOptions(**words, run_dir=str(tmp_path / "run"), minari=NAME)
    out, played = demonstrate.data_set_of(options), demonstrate.prepared(options)
    assert out is not None
    played.play()
    played.store.path(played.tasks[0]).unlink()
    out.write(played)
    dataset = minari.load_dataset(NAME)
    (only,) = dataset.storage.get_episode_metadata(dataset.episode_indices)
    assert only["seed"] == SEEDS[1]
    assert dataset.storage.metadata["ref_min_score"] == only["local_only_return"]
    played.store.path(played.tasks[1]).unlink()
    with pytest.raises(command.InputError, match="no episode has a plan"):
        out.write(played)


def test_a_plan_beyond_the_bound_is_a_defect() -> None:
    instance = make_instance(load_scenario("two_sites", horizon_h=HOURS), 0)
    found = run(LocalOnly(), instance)
    assert found.actions is not None
    env = GridAIEnv(instance.scenario)
    assert len(minari_data.played(env, instance, found.actions, found.benefit_usd)) == 6
    with pytest.raises(BoundError, match="seed 0: the plan passes the proven bound by 1"):
        minari_data.played(env, instance, found.actions, found.benefit_usd - 1.0)
    other = make_instance(load_scenario("two_sites", horizon_h=12.0), 0)
    with pytest.raises(RuntimeError, match="plays another episode"):
        minari_data.played(env, other, found.actions, found.benefit_usd)


def test_a_bound_that_is_not_proven_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class NoBound:
        bound_score = float("nan")

    monkeypatch.setattr(minari_data, "refer", lambda *_, **__: NoBound())
    assert make(tmp_path / "run") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: seed 1000000: no bound within --time-limit-s 120 s")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--minari", "two_sites"], "--minari 'two_sites': must be [NAMESPACE/]NAME-vN"),
        (["--minari", "../two_sites-v0"], "--minari '../two_sites-v0': must be"),
        (["--minari", "two sites-v0"], "--minari 'two sites-v0': must be"),
        (["--minari", NAME, "--actor", "local_only"], "--minari: a data set holds what was played"),
        (["--author", "me"], "--author: is for a data set; give --minari NAME"),
        (["--code-permalink", "x"], "--code-permalink: is for a data set"),
    ],
)
def test_bad_requests_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    own = ["--scenario", "two_sites", "--planner", "greedy", "--run-dir", str(tmp_path / "run")]
    assert demonstrate.main([*own, *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and told in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "minari" else find_spec(name))
    assert make(tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: this command needs minari: pip install") and "[offline]" in error
