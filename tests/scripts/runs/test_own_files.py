"""Scenarios and files of one's own: every command takes them, from any folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")
pytest.importorskip("highspy", reason="needs the extra 'milp'")

from agents.config import ConfigError, compiled_of, days_of, load_config
from gridai_env.scenario.load import load_scenario
from scripts import compare, demonstrate, solve, train, validate
from scripts.frontier import FrontierOptions
from scripts.pareto import ParetoOptions
from scripts.runs.arguments import InstancesBySeed
from tests.support.own_world import write_prices, write_world

TINY = str(Path(__file__).resolve().parents[3] / "configs" / "agents" / "ppo_tiny.yaml")
CONFIGS = sorted(Path(TINY).parent.glob("*.yaml"))
TRAIN = ["--config", TINY, "--no-bounds", "--total_steps", "96"]


@pytest.fixture
def unknown_zones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the working one, with a scenario whose zones only the trace file beside it knows."""
    write_world(tmp_path / "mine")
    write_prices(tmp_path / "prices.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("options", [FrontierOptions, ParetoOptions])
def test_the_sweeps_take_traces_for_unknown_zones(
    unknown_zones: Path, options: type[FrontierOptions]
) -> None:
    given = options(scenario="mine/own.yaml", traces="prices.csv")
    assert InstancesBySeed(given).make(0).scenario.traces == str(unknown_zones / "prices.csv")


def test_every_other_command_takes_traces_for_unknown_zones(unknown_zones: Path) -> None:
    own = ["--scenario", "mine/own.yaml", "--traces", "prices.csv"]
    assert validate.main(["mine/own.yaml", "prices.csv"]) == 0
    assert solve.main(own) == 0
    assert compare.main([*own, "--policies", "local_only", "--seeds", "0", "--run-dir", "compare"]) == 0
    words = ["--planner", "greedy", "--episodes", "1", "--run-dir", "demonstrate"]
    assert demonstrate.main([*own, *words]) == 0
    assert train.main([*TRAIN, *own, "--no-evaluation", "--run-dir", "train"]) == 0
    for name in ("compare", "demonstrate"):
        config = json.loads(Path(name, "run.json").read_text())["config"]
        assert config["scenario"] == str(unknown_zones / "mine" / "own.yaml")
        assert config["traces"] == config["scenario_resolved"]["traces"] == str(unknown_zones / "prices.csv")


def test_runs_go_on_from_another_folder(unknown_zones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = ["--scenario", "mine/own.yaml", "--traces", "prices.csv"]
    played = ["--policies", "local_only", "--run-dir"]
    assert train.main([*TRAIN, *own, "--no-evaluation", "--run-dir", "train"]) == 0
    assert compare.main([*own, "--seeds", "0", *played, "compare"]) == 0

    (unknown_zones / "other").mkdir()
    monkeypatch.chdir(unknown_zones / "other")
    assert train.main(["--resume", "../train", "--total_steps", "192", "--no-evaluation"]) == 0
    from_here = ["--scenario", "../mine/own.yaml", "--traces", "../prices.csv"]
    assert compare.main([*from_here, "--seeds", "0", "1", "--continue", *played, "../compare"]) == 0


def test_a_moved_run_goes_on(unknown_zones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--policies", "local_only", "--seeds", "0", "--run-dir", "compare"]
    (unknown_zones / "before").mkdir()
    prices = write_prices(unknown_zones / "before" / "prices.csv")
    assert compare.main(["--scenario", "mine/own.yaml", "--traces", str(prices), *words]) == 0
    prices.unlink()
    again = ["--scenario", "mine/own.yaml", "--traces", "prices.csv", *words, "--continue"]
    assert compare.main(again) == 0


def test_a_scenario_beside_its_prices_is_read_from_anywhere(
    unknown_zones: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_world(unknown_zones / "with", traces="../prices.csv")
    monkeypatch.chdir("/")
    assert validate.main([str(path)]) == 0
    assert load_scenario(path).traces == str(unknown_zones / "prices.csv")
    assert validate.main([str(path), "prices.csv"]) == 2
    assert "error: /prices.csv: no such trace file" in capsys.readouterr().err


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_every_agents_settings_fall_back_to_all_days_with_a_note(unknown_zones: Path, file: Path) -> None:
    own = {"environment.scenario": "mine/own.yaml", "environment.traces": "prices.csv"}
    config = load_config(file, own | {"environment.days": "train"})
    assert compiled_of(config).scenario.start == load_scenario("mine/own.yaml", traces="prices.csv").start
    assert "'own' has no benchmark" in days_of(config)


def test_without_a_benchmark_all_days_count_and_are_told(
    unknown_zones: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["--scenario", "mine/own.yaml", "--traces", "prices.csv"]
    words = [*TRAIN, *own, "--environment.days", "train", "--evaluation.instances", "1"]
    assert train.main([*words, "--run-dir", "train"]) == 0
    note = "all that the scenario has: 'own' has no benchmark that sets some aside"
    assert f"days: {note}" in capsys.readouterr().out
    assert json.loads(Path("train", "run.json").read_text())["days"] == note

    words = ["--planner", "greedy", "--episodes", "1", "--days", "train", "--run-dir", "demonstrate"]
    assert demonstrate.main([*own, *words]) == 0
    assert f"days: {note}" in capsys.readouterr().out
    assert json.loads(Path("demonstrate", "run.json").read_text())["config"]["days_in_words"] == note

    assert train.main([*TRAIN, *own, "--environment.days", "trian", "--run-dir", "no"]) == 2
    assert "one of 'all', 'train'" in capsys.readouterr().err


def test_days_that_are_too_few_are_refused_with_the_way_out() -> None:
    config = load_config(None, {"environment.days": "train", "environment.horizon_h": 24.0 * 200})
    with pytest.raises(ConfigError, match=r"no episode of 4800 h fits .*\(--environment.days all\)"):
        compiled_of(config)
