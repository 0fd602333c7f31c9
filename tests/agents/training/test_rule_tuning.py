"""The search for the numbers of a rule: by itself, and as a stage of training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")

import torch

from agents.config import ConfigError, compiled_of, load_config
from agents.training import environments, train
from agents.training.environments import FIRST_HELD_OUT_SEED
from agents.training.rule_tuning import EPISODES_OF_A_RUN, FIRST_SEED, RUNS, calibrate, search
from scripts import train as command

ROOT = Path(__file__).resolve().parents[3]
STRUCTURED = ROOT / "configs" / "agents" / "ppo.yaml"
TINY = ROOT / "configs" / "agents" / "ppo_tiny.yaml"
SMALL: dict[str, Any] = {
    "environment": {"scenario": "two_sites", "horizon_h": 12.0},
    "calibration": {"rounds": 1, "steps": 48},
    "algorithm": "ppo",
    "num_envs": 2,
    "rollout_steps": 6,
    "batch_size": 12,
    "total_steps": 12,
    "device": "cpu",
}


def numbers(*values: float) -> dict[str, tuple[torch.nn.Parameter, float]]:
    return {str(i): (torch.nn.Parameter(torch.tensor(value)), 1.0) for i, value in enumerate(values)}


def test_a_search_climbs_and_leaves_alone_what_does_not_matter() -> None:
    given, tried = numbers(0.0, 5.0, 3.0), []

    def score() -> float:
        x, y, z = (number.item() for number, _ in given.values())
        tried.append((x, y, z))
        return -((x - 1.4) ** 2) - (y - 4.0) ** 2

    before, after, tries = search(given, score, rounds=3)
    # Round 1 with steps of 1: x 0 -> 1, y 5 -> 6? no -> 4.  Round 2 with 0.5: x 1 -> 1.5.  Round 3 with 0.25: nothing.
    assert [number.item() for number, _ in given.values()] == [1.5, 4.0, 3.0]
    assert (before, after) == (pytest.approx(-1.96 - 1.0), pytest.approx(-0.01))
    assert tries == len(tried) == 1 + (1 + 2 + 1) + (1 + 2 + 1) + (2 + 2 + 1)
    assert {z for _, _, z in tried} == {3.0, 4.0, 3.5, 3.25}


def test_a_search_that_finds_nothing_changes_nothing() -> None:
    given = numbers(1.0, 2.0)
    before, after, _ = search(
        given, lambda: -sum(abs(n.item() - i - 1.0) for i, (n, _) in enumerate(given.values())), 2
    )
    assert before == after == 0.0
    assert [number.item() for number, _ in given.values()] == [1.0, 2.0]


def built(**changes: Any) -> tuple[Any, Any]:
    config = load_config(STRUCTURED, SMALL | changes)
    return config, train.build(config, environments.make_training_env(config, compiled_of(config)))


def test_calibration_mends_a_bad_rule_and_nothing_else(tmp_path: Path) -> None:
    config, model = built()
    rule = model.policy.rule_numbers()
    with torch.no_grad():
        rule["log_width"][0].fill_(2.0)  # hardly any choice by cost
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    found = calibrate(model, config, tmp_path)
    assert found.after_usd > found.before_usd
    assert found.numbers["log_width"] < 2.0
    assert found.episodes == 4
    moved = {n for n, value in model.policy.state_dict().items() if not torch.equal(value, before[n])}
    assert "judgement.log_width" in moved
    assert moved <= {f"judgement.{name}" for name in rule}
    assert json.loads((tmp_path / "calibration.json").read_text())["numbers"] == found.numbers
    again_config, again = built()
    with torch.no_grad():
        again.policy.rule_numbers()["log_width"][0].fill_(2.0)
    (tmp_path / "again").mkdir()
    assert calibrate(again, again_config, tmp_path / "again") == found


def test_its_episodes_are_none_that_are_judged_on_later() -> None:
    assert FIRST_SEED + RUNS * EPISODES_OF_A_RUN <= FIRST_HELD_OUT_SEED


def test_stages_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--config", str(TINY), "--run-dir", str(tmp_path), "--policy", "structured"]
    words += ["--calibration.rounds", "1", "--calibration.steps", "12", "--total_steps", "96"]
    assert command.main(words) == 0
    stages = json.loads((tmp_path / "stages.json").read_text())["stages"]
    assert [stage["name"] for stage in stages] == ["start", "calibration", "ppo"]
    assert "over Local-Only by stage: start " in capsys.readouterr().out


def test_networks_without_a_rule_say_so(tmp_path: Path) -> None:
    config = load_config(TINY, {"calibration": {"rounds": 1}})
    model = train.build(config, environments.make_training_env(config, compiled_of(config)))
    with pytest.raises(ConfigError, match="no numbers of a rule"):
        calibrate(model, config, tmp_path)
