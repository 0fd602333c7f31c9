"""`scripts.train`: what a run leaves behind, how it goes on, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")
pytest.importorskip("highspy", reason="needs the extra 'milp'")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.networks.checkpoint import load_policy
from agents.training.curves import LAYOUT
from gridai_env.episodes.instance import make_instance
from gridai_env.rollout.run import run
from gridai_env.world.terms import TERMS
from scripts import train
from scripts.runs import command

TINY = ["--config", str(Path(__file__).resolve().parents[2] / "configs" / "agents" / "ppo_tiny.yaml")]


def start(folder: Path, *words: str) -> int:
    return train.main([*TINY, "--run-dir", str(folder), *words])


def tags_of(folder: Path) -> dict[str, list[int]]:
    """Tag -> steps of all scalars of a run."""
    found: dict[str, list[int]] = {}
    for file in sorted((folder / "tensorboard").iterdir()):
        events = EventAccumulator(str(file))
        events.Reload()
        for tag in events.Tags()["scalars"]:
            found[tag] = found.get(tag, []) + [event.step for event in events.Scalars(tag)]
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short finished run."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    assert start(folder) == 0
    return folder


def test_a_run_leaves_what_it_promises(finished: Path) -> None:
    record = json.loads((finished / "run.json").read_text())
    assert record["config"]["environment"]["scenario"] == "two_sites"
    assert record["config"]["hidden"] == [16, 16]
    assert record["seeds"] == [0]
    assert record["device"] == "cpu"
    assert {"environment_version", "commit", "versions", "machine", "agent"} <= record.keys()
    assert [len(entry["hash"]) for entry in record["instances"]] == [64, 64]
    assert set(json.loads((finished / "bounds.json").read_text())) == {e["hash"] for e in record["instances"]}
    names = sorted(path.name for path in (finished / "checkpoints").iterdir())
    assert names == ["steps_000000000192.zip", "steps_000000000384.zip"]
    assert not list(finished.glob(".*"))


def test_curves_hold_every_figure(finished: Path) -> None:
    tags = tags_of(finished)
    over_local = "over_local_usd over_local_low_usd dropped_over_local_gpuh"
    expected = {
        "eval": f"benefit_usd bill_usd dropped_gpuh emissions_kg gain_captured gap served_share {over_local}",
        "rollout": "benefit_usd dropped_gpuh emissions_kg ep_rew_mean",
        "terms": " ".join(f"{name}_usd" for name in TERMS),
        "train": "approx_kl clip_fraction entropy_loss explained_variance learning_rate loss "
        "policy_gradient_loss std value_loss",
    }
    shown = {f"{group}/{name}" for group, names in expected.items() for name in names.split()}
    assert tags.keys() == shown
    assert tags["eval/gap"] == [0, 192, 384]
    pinned = {tag for charts in LAYOUT.values() for _, names in charts.values() for tag in names}
    assert pinned <= tags.keys()
    with open(finished / "progress.csv", newline="", encoding="utf-8") as file:
        columns = set(next(csv.reader(file)))
    assert shown | {"rollout/ep_len_mean", "time/fps", "train/clip_range"} <= columns


def test_the_agent_can_be_played(finished: Path) -> None:
    instance = make_instance("two_sites", seed=3, horizon_h=6.0)
    assert run(load_policy(finished / "model.zip"), instance).metrics["served_share"] == pytest.approx(1.0)


def test_a_run_goes_on(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert start(folder, "--total-steps", "192", "--no-bounds") == 0
    assert train.main(["--resume", str(folder), "--total_steps", "384"]) == 0
    assert "after 192 of 384 steps" in capsys.readouterr().out
    assert json.loads((folder / "run.json").read_text())["config"]["total_steps"] == 384
    tags = tags_of(folder)
    assert max(tags["eval/benefit_usd"]) == 384
    assert "eval/gap" not in tags
    assert not (folder / "bounds.json").exists()


def test_a_run_is_not_overwritten_by_accident(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (finished / "model.zip").read_bytes()
    assert start(finished) == 2
    told = capsys.readouterr().err
    assert "--resume" in told
    assert "--overwrite" in told
    assert (finished / "model.zip").read_bytes() == before


def test_a_run_is_overwritten_where_that_is_said(tmp_path: Path) -> None:
    words = ("--no-evaluation", "--total_steps", "96")
    assert start(tmp_path / "run", *words) == 0
    assert start(tmp_path / "run", *words, "--overwrite") == 0
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1


def test_an_interrupt_saves_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from agents.training.callbacks import TotalsCallback

    def interrupt(self: TotalsCallback) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TotalsCallback, "_on_step", interrupt)
        assert start(tmp_path / "run", "--no-evaluation") == 130
    assert f"--resume {tmp_path / 'run'}" in capsys.readouterr().err
    assert train.main(["--resume", str(tmp_path / "run"), "--no-evaluation"]) == 0
    assert (tmp_path / "run" / "model.zip").is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--scenario", "two_site"], "did you mean 'two_sites'"),
        (["--hiden", "3"], "did you mean 'hidden'"),
        (["--gamma", "2"], "must be a number in [0, 1]"),
        (["--config", "none.yaml"], "none.yaml: cannot be read"),
        (["--traces", "none.csv"], "none.csv"),
        (["--environment.forecast", "oracle"], "one of 'perfect', 'persistence', 'day_ahead'"),
    ],
)
def test_bad_input_is_one_error_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert start(tmp_path / "run", *words) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_cannot_go_on_is_refused(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = [
        (["--resume", str(tmp_path / "none")], "cannot be read"),
        (["--resume", str(finished), "--scenario", "four_markets"], "cannot change within a run"),
        (["--resume", str(finished), "--hidden", "8", "8"], "cannot change within a run"),
        (["--resume", str(finished), "--learning_rate", "1e-5"], "learning_rate cannot change within a run"),
        (["--resume", str(finished), "--config", "x.yaml"], "leave out --config"),
    ]
    for words, told in cases:
        assert train.main(words) == 2
        assert told in capsys.readouterr().err


def test_a_run_of_another_version_or_with_damaged_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert start(folder, "--no-evaluation", "--total_steps", "96") == 0
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"environment_version": 99}))
    assert train.main(["--resume", str(folder)]) == 2
    assert "environment_version is 99" in capsys.readouterr().err
    (folder / "run.json").write_text(json.dumps(record))
    checkpoint = next((folder / "checkpoints").iterdir())
    checkpoint.write_bytes(b"")
    assert train.main(["--resume", str(folder)]) == 2
    assert "not a readable checkpoint" in capsys.readouterr().err
    checkpoint.unlink()
    assert train.main(["--resume", str(folder)]) == 2
    assert "no checkpoint" in capsys.readouterr().err


def test_keys_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--keys"]) == 0
    shown = capsys.readouterr().out
    assert "--evaluation.instances" in shown
    assert "--learning_rate " in shown


def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "highspy" else object())
    assert start(tmp_path / "run") == 2
    assert "needs highspy: pip install -e '.[milp]', or --no-bounds" in capsys.readouterr().err
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert start(tmp_path / "run") == 2
    assert ".[rl]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
