"""The table of the rule's numbers, from run folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")

from agents.networks import merit_order
from scripts.maintenance.merit_order import main
from scripts.runs.folder import write_run


def test_numbers_of_a_run_replace_those_of_its_scenario(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table, run = tmp_path / "table.json", tmp_path / "run"
    table.write_text(json.dumps({"a": {"patience": 1.0}, "b": {"patience": 2.0}}))
    monkeypatch.setattr(merit_order, "NUMBERS_FILE", table)
    run.mkdir()
    write_run(run, "train", {}, [0], agent={"scenario": "b"})
    assert main(["--run", str(run)]) == 2
    assert "calibration.json" in capsys.readouterr().err
    (run / "calibration.json").write_text(json.dumps({"numbers": {"patience": 3.0}}))
    assert main(["--run", str(run)]) == 0
    assert json.loads(table.read_text()) == {"a": {"patience": 1.0}, "b": {"patience": 3.0}}
