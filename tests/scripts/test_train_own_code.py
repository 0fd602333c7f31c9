"""What a user adds to a training: callbacks, a reward wrapper, Weights & Biases; and the learning curve as CSV."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")

from scripts import train

TINY = Path(__file__).resolve().parents[2] / "configs" / "agents" / "ppo_tiny.yaml"
CODE = '''
from stable_baselines3.common.callbacks import BaseCallback

class Count(BaseCallback):
    """Notes how often it was called."""
    def _on_step(self):
        return True
    def _on_training_end(self):
        with open("count.txt", "a") as file:
            file.write(f"{self.n_calls}\\n")

def settings(config):
    print("seed of the run:", config.seed)
    return Count()

def tenfold():
    return lambda reward, info, observation: 10 * reward + 0 * observation[:, 0]

def narrow():
    return lambda reward, info, observation: reward[:1]

def number():
    return 3
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with code in it."""
    (tmp_path / "own_training.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_training", raising=False)
    return tmp_path


def run(folder: str, *words: str) -> int:
    base = ["--config", str(TINY), "--no-bounds", "--total_steps", "192", "--run-dir", folder]
    return train.main([*base, *words])


def curve(folder: Path) -> list[dict[str, str]]:
    with (folder / "progress.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_callbacks_of_the_user_are_called(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["py:own_training:Count", "py:own_training:settings"]
    assert run("r", "--no-evaluation", "--seed", "5", "--callbacks", *names) == 0
    assert (own / "count.txt").read_text() == "24\n24\n"  # 192 steps of 8 environments
    assert "seed of the run: 5" in capsys.readouterr().out
    assert json.loads((own / "r" / "run.json").read_text())["config"]["callbacks"] == names
    assert (
        train.main(["--resume", "r", "--no-evaluation", "--total_steps", "288", "--callbacks", names[0]]) == 0
    )
    assert (own / "count.txt").read_text() == "24\n24\n12\n"


@pytest.mark.parametrize("algorithm", ["ppo", "device_ppo"])
def test_a_reward_wrapper_changes_what_is_learned_from_alone(own: Path, algorithm: str) -> None:
    words = ["--algorithm", algorithm, "--learning_rate", "1e-12", "--learning_rate_end", "0"]
    assert run("plain", *words) == 0
    assert run("tenfold", *words, "--reward-wrapper", "py:own_training:tenfold") == 0
    plain, tenfold = curve(own / "plain"), curve(own / "tenfold")
    earned = [[float(row["rollout/ep_rew_mean"] or "nan") for row in rows] for rows in (plain, tenfold)]
    assert earned[1][1:] == pytest.approx([10 * value for value in earned[0][1:]], rel=1e-4, nan_ok=True)
    judged = [float(rows[0]["eval/benefit_usd"]) for rows in (plain, tenfold)]
    assert judged[0] == judged[1]
    record = json.loads((own / "tenfold" / "run.json").read_text())
    assert record["rewards"] == {
        "training": "py:own_training:tenfold",
        "evaluation": "the environment's own",
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--callbacks", "py:own_training:number"], "must give a BaseCallback of Stable-Baselines3, not int"),
        (["--callbacks", "own_training"], "must be py:module:Factory"),
        (["--reward-wrapper", "py:own_training:number"], "observation) -> reward, not int"),
        (
            ["--reward-wrapper", "py:gymnasium:RewardWrapper"],
            "must give a function (reward, info, observation)",
        ),
        (["--reward-wrapper", "py:own_training:narrow"], "must return a ndarray of shape (8,)"),
        (["--reward-wrapper", "py:own_training:Count"], "observation) -> reward, not Count"),
    ],
)
def test_wrong_code_is_refused_in_one_line(
    own: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("r", "--no-evaluation", *words) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1 and not (own / "r").exists()


def test_the_curve_has_one_row_for_each_step_also_where_a_run_goes_on(own: Path) -> None:
    assert run("r") == 0
    steps = [int(row["time/total_timesteps"]) for row in curve(own / "r")]
    assert steps == [0, 96, 192]
    assert all(float(row["eval/benefit_usd"]) for row in curve(own / "r")[::2])
    with (own / "r" / "progress.csv").open(
        "a"
    ) as file:  # what was written after the last checkpoint comes again
        file.write(curve_row(own / "r", 288))
    assert train.main(["--resume", "r", "--total_steps", "384"]) == 0
    rows = curve(own / "r")
    assert [int(row["time/total_timesteps"]) for row in rows] == [0, 96, 192, 288, 384]
    assert rows[3]["train/loss"] != "-1.0" and float(rows[2]["eval/benefit_usd"])


def curve_row(folder: Path, step: int) -> str:
    """A line of progress.csv for a step, -1 in all other columns."""
    names = (folder / "progress.csv").read_text().splitlines()[0].split(",")
    return ",".join(str(step) if name == "time/total_timesteps" else "-1.0" for name in names) + "\n"


class StubRun:
    """A run of W&B that only remembers how it was opened and closed."""

    opened: list[dict[str, Any]]

    def __enter__(self) -> StubRun:
        return self

    def __exit__(self, *error: object) -> None:
        self.opened[-1]["closed"] = True


def test_curves_go_to_wandb_where_it_is_installed(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub, StubRun.opened = ModuleType("wandb"), []
    stub.__spec__ = sys.__spec__
    stub.init = lambda **given: StubRun.opened.append(given) or StubRun()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", stub)
    assert run("r", "--no-evaluation", "--wandb", "mine") == 0
    assert train.main(["--resume", "r", "--no-evaluation", "--total_steps", "288"]) == 0
    first, second = StubRun.opened
    assert (first["project"], first["sync_tensorboard"], first["closed"]) == ("mine", True, True)
    assert first["id"] == second["id"] and first["config"]["seed"] == 0 and first["name"] == "r"


def test_without_wandb_one_line_says_so(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert run("r", "--wandb", "mine") == 2
    assert capsys.readouterr().err == (
        "error: this command needs wandb: pip install wandb, or leave out --wandb\n"
    )
