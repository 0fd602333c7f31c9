"""Rules and evaluation run without solver, TensorBoard, progress bars, torch and pictures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jsonargparse", reason="needs the extra 'cli'")

from tests.support.own_world import write_prices, write_world

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = (
    "pyomo",
    "highspy",
    "scipy",
    "joblib",
    "tensorboard",
    "tqdm",
    "rich",
    "torch",
    "stable_baselines3",
    "matplotlib",
    "pyarrow",
    "plotly",
    "moocore",
)
BLOCKED = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({EXTRAS!r}))
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process where no extra but that of command lines can be imported."""
    return subprocess.run(
        [sys.executable, "-c", BLOCKED, *words],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def told(folder: Path, *words: str) -> str:
    done = run(folder, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_validate(tmp_path: Path) -> None:
    own = write_world(tmp_path, traces=str(write_prices(tmp_path / "prices.csv")))
    assert "valid" in told(tmp_path, "scripts.validate", str(own))


def test_convert(tmp_path: Path) -> None:
    hours = [f"2023-01-01 0{hour}:00:00" for hour in range(3)]
    prices = ["Datetime,Price (USD/MWh)", *(f"{hour}+00:00,50" for hour in hours)]
    (tmp_path / "prices.csv").write_text("\n".join(prices) + "\n")
    head = "Datetime (UTC),Country,Zone name,Zone id,Carbon intensity gCO₂eq/kWh (direct)"
    carbon = [head, *(f"{hour},Germany,Germany,DE,300" for hour in hours)]
    (tmp_path / "carbon.csv").write_text("\n".join(carbon) + "\n")
    words = ["--zone", "DE-LU", "--price", "prices.csv", "--carbon", "carbon.csv", "--out", "out.csv"]
    told(tmp_path, "scripts.convert", *words)
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 4


def test_evaluate_a_rule(tmp_path: Path) -> None:
    words = ["--policies", "greedy", "--scenario", "two_sites", "--episodes", "2", "--run-dir", "run"]
    last = told(tmp_path, "scripts.evaluate", *words).splitlines()[-1]
    assert last.startswith("gain_captured=") and (tmp_path / "run" / "run.json").is_file()


def test_compare_rules(tmp_path: Path) -> None:
    words = ["--scenario", "two_sites", "--horizon-h", "6", "--seeds", "0", "1", "--run-dir", "run"]
    out = told(tmp_path, "scripts.compare", "--policies", "local_only", "greedy", *words)
    assert "note: no bounds, so neither gap nor gain captured: pip install -e" in out
    assert "greedy" in out and "tensorboard --logdir" not in out
    rows = (tmp_path / "run" / "summary.csv").read_text().splitlines()
    assert len(rows) == 5 and not list((tmp_path / "run" / "tensorboard").iterdir())


@pytest.mark.parametrize("name", ["milp", "mpc:day_ahead", "variant:no_battery"])
def test_what_needs_a_solver_says_so(tmp_path: Path, name: str) -> None:
    done = run(tmp_path, "scripts.compare", "--policies", name, "--scenario", "two_sites", "--run-dir", "run")
    assert done.returncode == 2 and "[milp]'" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_the_rule_that_needs_torch_names_its_extra(tmp_path: Path) -> None:
    words = ("--scenario", "two_sites", "--policies", "rule:merit_order", "--episodes", "1")
    done = run(tmp_path, "scripts.evaluate", *words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "rule:merit_order: needs torch" in done.stderr and "[rl]" in done.stderr
