"""`scripts.reproduce --study`: a tiny study, complete, stopped, and with parts missing."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import generated_pages
import numpy as np
import pytest
import yaml

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")
pytest.importorskip("highspy", reason="needs the extra 'milp'")

from agents.training import train
from agents.training.checkpoints import latest_checkpoint
from gridai_env.benchmarks.published import read_set
from gridai_env.benchmarks.summary import published_result
from gridai_env.scenario.load import load_scenario
from scripts import reproduce
from scripts.maintenance import freeze, ship
from scripts.runs.command import InputError
from scripts.runs.folder import read_run
from scripts.studies.learning.run import StudyRun, improvement, missing
from scripts.studies.learning.study import load_study
from scripts.studies.learning.tasks import Training
from scripts.studies.policies import checkpoint_of

BENCHMARK = """
scenario: two_sites
file: two_sites.world
calendar:
  train: [{first: 2023-01-01, last: 2023-01-20}]
  validation: [{first: 2023-02-01, last: 2023-02-20}]
  test: [{first: 2023-03-01, last: 2023-03-31}]
sets:
  validation: {part: validation, episodes: 2}
  test: {part: test, episodes: 2, planners: [mpc:own]}
solver: {mip_gap: 0.01, time_limit_s: 30.0}
"""
TINY: dict[str, Any] = {
    "settings": {
        "environment.days": "train",
        "evaluation.instances": 2,
        "evaluation.every_steps": 24,
        "evaluation.keep": "best",
        "num_envs": 4,
        "total_steps": 48,  # of updates of 24
        "checkpoint_every_steps": 24,
    },
    "methods": {
        "learned": {
            "kind": "learned",
            "config": "configs/agents/learned.yaml",
            "against": "greedy",
            "settings": {
                "policy": "smooth_mlp", "hidden": [8], "imitation.teacher": "greedy", "imitation.rounds": 1,
                "imitation.episodes": 2, "imitation.epochs": 1,
            },
        },
        "ppo": {
            "kind": "ppo",
            "config": "configs/agents/ppo_tiny.yaml",
            "settings": {"environment.horizon_h": None, "rollout_steps": 6, "batch_size": 24},
        },
    },
    "scenarios": {"two_sites": {"learned": {"seeds": 2}, "ppo": {"seeds": 1}}},
    "rules": ["greedy"],
    "sets": ["test"],
}  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a tiny study on a world of six hours."""
    folder = tmp_path_factory.mktemp("study")
    world = load_scenario("two_sites", horizon_h=6.0)
    (folder / "two_sites.world").write_text(yaml.safe_dump(world.model_dump(mode="json")), encoding="utf-8")
    (folder / "two_sites.yaml").write_text(BENCHMARK, encoding="utf-8")
    words = ["--scenario", "two_sites", "--benchmarks", str(folder), "--run-dir", str(folder / "run")]
    assert freeze.main(words) == 0
    return written(folder / "study.tiny", {})


def written(path: Path, changes: dict[str, Any]) -> Path:
    data = TINY | {"benchmarks": str(path.parent)} | changes
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the study, complete."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert reproduce.main(words(study, folder)) == 0
    return folder


def words(study: Path, folder: Path, *more: str) -> list[str]:
    return ["--study", str(study), "--run-dir", str(folder), "--jobs", "1", "--threads", "1", *more]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def weights(folder: Path) -> list[np.ndarray]:
    from agents.networks.checkpoint import load_policy

    state = load_policy(folder / "model.zip").network.state_dict()
    return [value.numpy() for value in state.values()]


def test_a_finished_study_has_every_table(finished: Path, study: Path) -> None:
    table = {row["policy"]: row for row in rows(finished / "learning.csv")}
    assert list(table) == ["local_only", "milp", "mpc:day_ahead", "learned", "ppo", "greedy"]
    one, folder = table["learned"], finished / "two_sites" / "learned"
    assert (one["runs"], one["planned"], one["mark"], one["steps"]) == ("2", "2", "", "48.0")
    assert table["ppo"]["mark"] == "one seed"
    assert float(one["minutes"]) > 0 and float(one["decision_ms"]) > 0 and one["median_episode"]
    assert one["against"] == "greedy" and 0 <= float(one["beats_against"]) <= 1
    assert float(one["gain_captured_low"]) <= float(one["gain_captured"]) <= float(one["gain_captured_high"])

    points = rows(finished / "learning_curves.csv")
    assert {(p["method"], p["seed"]) for p in points} == {("learned", "0"), ("learned", "1"), ("ppo", "0")}
    own = [p for p in points if (p["method"], p["seed"]) == ("learned", "0")]
    assert [p["steps"] for p in own] == ["0", "24", "48"]
    minutes = [float(p["minutes"]) for p in own]
    assert minutes == sorted(minutes) and minutes[0] > 0  # the imitation comes before the first
    assert missing(load_study(str(study)), list(table.values())) == []
    (commit,) = {read_run(task)["commit"] for task in folder.glob("seed*")}
    assert one["commits"] == commit
    assert (
        (folder / "seed0" / "train.log").read_text("utf-8").startswith("days: the benchmark's training days")
    )


def test_nothing_is_computed_twice_and_a_new_network_is_judged_again(
    finished: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(finished, tmp_path / "copy")
    assert reproduce.main(words(study, folder)) == 0
    assert "\n0 tasks computed now" in capsys.readouterr().out
    shutil.copy(folder / "two_sites/learned/seed0/model.zip", folder / "two_sites/learned/seed1/model.zip")
    assert reproduce.main(words(study, folder)) == 0
    assert "\n2 tasks computed now" in capsys.readouterr().out  # the record of the training, the set


def test_a_part_lists_what_is_missing_and_marks_it(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce.main(words(study, tmp_path, "--methods", "learned", "--seeds", "1")) == 0
    assert "\nmissing: two_sites, test: learned 1 of 2, ppo 0 of 1\n" in capsys.readouterr().out
    table = {row["policy"]: row for row in rows(tmp_path / "learning.csv")}
    assert table["learned"]["mark"] == "1 of 2 seeds" and "ppo" not in table


@pytest.mark.parametrize("where", ["imitation", "update"])
def test_a_study_that_was_stopped_ends_with_the_same_weights(
    where: str, finished: Path, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after the imitation, before any checkpoint, or between two updates."""
    name = "_learn" if where == "imitation" else "save_model"

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    part = ["--methods", "learned", "--seeds", "0"]
    with monkeypatch.context() as patch:
        patch.setattr(train, name, stop)
        assert reproduce.main(words(study, tmp_path, *part)) == 130
    folder = tmp_path / "two_sites" / "learned" / "seed0"
    assert not (folder / "model.zip").exists()
    assert (latest_checkpoint(folder) is None) == (where == "imitation")

    assert reproduce.main(words(study, tmp_path, *part)) == 0
    for mine, whole in zip(weights(folder), weights(finished / "two_sites/learned/seed0"), strict=True):
        np.testing.assert_array_equal(mine, whole)


def test_another_setting_is_refused_and_replaced_with_overwrite(
    finished: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(finished, tmp_path / "copy")
    settings = TINY["settings"] | {"total_steps": 24}
    other = written(study.with_name("other.tiny"), {"settings": settings})
    part = words(other, folder, "--methods", "ppo")
    assert reproduce.main(part) == 2
    assert "total_steps was 48 and is now 24" in capsys.readouterr().err
    before = checkpoint_of(f"ppo:{folder / 'two_sites/ppo/seed0/model.zip'}")
    assert reproduce.main([*part, "--overwrite"]) == 0
    assert checkpoint_of(f"ppo:{folder / 'two_sites/ppo/seed0/model.zip'}") != before


def test_a_training_begins_with_the_weights_of_another(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def plans(seeds: int) -> dict[str, Any]:
        plan = {"seeds": 2, "start_from": "two_sites/first", "settings": {"total_steps": 24}}
        first = TINY["methods"]["learned"] | {"settings": {"policy": "smooth_mlp", "hidden": [8]}}
        scenarios = {"two_sites": {"further": plan, "first": {"seeds": seeds}}}
        return {"methods": {"further": first, "first": first}, "scenarios": scenarios, "rules": []}

    # What it begins with is trained before, also where only it was asked for.
    one, folder = written(study.with_name("further.tiny"), plans(2)), tmp_path / "one"
    assert reproduce.main(words(one, folder, "--methods", "further", "--seeds", "1")) == 0
    first, further = (
        json.loads((folder / "two_sites" / name / "seed1/stages.json").read_text())["stages"]
        for name in ("first", "further")
    )
    assert further[0]["over_local_usd"] == pytest.approx(first[-1]["over_local_usd"], rel=1e-12)
    assert further[-1]["over_local_usd"] != further[0]["over_local_usd"] != first[0]["over_local_usd"]

    # Elsewhere it is the same study.
    moved = folder.rename(tmp_path / "moved")
    capsys.readouterr()
    assert reproduce.main(words(one, moved, "--methods", "further", "--seeds", "1")) == 0
    assert "\n0 tasks computed now" in capsys.readouterr().out

    # Steps and minutes are those of both.
    (row,) = (row for row in rows(moved / "learning.csv") if row["policy"] == "further")
    assert row["steps"] == "72.0"

    few, circle, unknown = plans(1), plans(2), plans(2)
    circle["scenarios"]["two_sites"]["first"]["start_from"] = "two_sites/further"
    unknown["scenarios"]["two_sites"]["other"] = {"seeds": 1}
    for wrong, said in (
        (
            few,
            "two_sites/further: start_from = 'two_sites/first': must be a training of this study of at least 2 seeds",
        ),
        (
            circle,
            "two_sites/.*: start_from = 'two_sites/.*': must be .* not itself begin with this one",
        ),
        (unknown, "two_sites/other: no method 'other'; there are first, further"),
    ):
        assert reproduce.main(words(written(study.with_name("wrong.tiny"), wrong), tmp_path / "wrong")) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert re.search(said, line), line


def test_settings_that_came_later_do_not_make_it_another_training(
    finished: Path, study: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(finished, tmp_path / "copy")
    for path in folder.glob("two_sites/*/seed*/run.json"):
        record = json.loads(path.read_text())
        del record["config"]["on_device"]["shortages"]
        path.write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"on_device.shortages was 0.0 and is now 0.05"):
        Training(load_study(str(study)), "two_sites", "learned", 0, folder).check(overwrite=False)
    Training(load_study(str(study)), "two_sites", "ppo", 0, folder).check(overwrite=False)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--scenarios", "two_site"],
            "--scenarios 'two_site': not in this study; there are two_sites",
        ),
        (["--methods", "a2c"], "--methods 'a2c': not in this study; there are learned, ppo"),
        (["--seeds", "7"], "the study has no such training"),
        (["--quick"], "--quick: goes not with --study; leave it out"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_in_one_line(
    more: list[str], message: str, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce.main(words(study, tmp_path / "none", *more)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line) and not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["learning", "learning_tried"])
def test_shipped_study_has_valid_settings(name: str, tmp_path: Path) -> None:
    study = load_study(name)
    run = StudyRun(study, tmp_path)
    for scenario, own in study.scenarios.items():
        for method in own:
            task = run.trainings(scenario, method)[0]
            task.check(overwrite=False)
            assert task.config().seed == 0
    if name != "learning":
        return
    planned = {s: {m: one.seeds for m, one in own.items()} for s, own in study.scenarios.items()}
    for scenario in ("two_sites", "four_markets", "microgrid_prosumer"):
        assert set(planned[scenario].values()) == {5}
    for scenario in ("global", "energy_geography"):
        assert planned[scenario].pop("learned") == 3 and set(planned[scenario].values()) == {1}
    for scenario in ("flexible_campus", "demand_response"):
        assert planned[scenario] == {"learned": 3, "ppo": 1}
        # Sets that a scenario does not have are not missing.
        assert f"{scenario}, test, " in (left := "\n".join(missing(study, [])))
        assert not any("shifted" in line for line in left.splitlines() if line.startswith(scenario))


def test_real_years_are_frozen_as_other_sets_are(
    data_dir: Path,
    study: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = {"file": "panel/hourly_2021_2023.parquet", "years": [2023], "episodes": 2, "planners": ["mpc:own"]}
    run = StudyRun(load_study(str(written(study.with_name("real.tiny"), {"real": real}))), tmp_path / "with")
    run.freeze_years("two_sites")
    assert "two_sites on 2023" not in capsys.readouterr().out
    frozen = read_set("two_sites", "test", run.real_folder(2023))
    assert frozen.published == ("local_only", "milp", "mpc:day_ahead")
    starts = [entry.key.start_utc for entry in frozen.entries]
    assert starts == ["2023-04-02T08:00", "2023-10-01T08:00"]
    assert frozen.benchmark.world.traces == str((data_dir / real["file"]).resolve())

    monkeypatch.setenv("GRIDAI_DATA_DIR", str(tmp_path))
    without = StudyRun(run.study, tmp_path / "without")
    without.freeze_years("two_sites")
    assert "set GRIDAI_DATA_DIR to the folder of the real traces" in capsys.readouterr().out
    without.folder.mkdir(exist_ok=True)
    without.write()
    assert (
        "missing: two_sites, test, 2023: learned 0 of 2, ppo 0 of 1, greedy 0 of 1" in capsys.readouterr().out
    )


def test_improvement_is_taken_seed_by_seed(study: Path) -> None:
    frozen = read_set("two_sites", "test", study.parent)
    best, none = published_result("milp", frozen), published_result("local_only", frozen)
    assert improvement(best, none, ["", ""]).value == 1.0
    assert improvement(none, none, ["", ""]).value == 0.5


def test_shipped_agents_are_small_and_decide_as_before(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ship, "pretrained_root", lambda: tmp_path / "pretrained")
    monkeypatch.setattr(ship, "MEASURED", tmp_path)
    old = tmp_path / "pretrained" / "two_sites" / "learned" / "seed7"
    old.mkdir(parents=True)
    assert ship.main(["--from", str(finished)]) == 0
    assert not old.exists()
    mine, shipped = finished / "two_sites/learned/seed1", tmp_path / "pretrained/two_sites/learned/seed1"
    for one, other in zip(weights(mine), weights(shipped), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (shipped / "model.zip").stat().st_size < 0.5 * (mine / "model.zip").stat().st_size
    files = {path.name for path in shipped.iterdir()}
    assert files == {"model.zip", "run.json", "stages.json", "imitation.json", "progress.csv"}
    assert [row["time/total_timesteps"] for row in rows(shipped / "progress.csv")] == ["0", "24", "48"]
    assert not any(word.startswith("/") for word in read_run(shipped)["command"])
    assert (tmp_path / "pretrained/two_sites/ppo/seed0/model.zip").is_file()

    # The page shows what is there, and what is missing.
    page = generated_pages.learning(tmp_path / "learning", tmp_path)
    assert "### two_sites" in page and "| `learned` | test |" in page and "one seed" in page
    assert (tmp_path / "learning_curves.svg").stat().st_size > 1000
    assert "- four_markets, test, shifted, 2021, 2023: calm 0 of 5, learned 0 of 5," in page
    assert "No study has been run yet" in generated_pages.learning(tmp_path / "nothing", tmp_path)


def test_rows_of_agents_that_a_folder_does_not_hold_stay() -> None:
    def row(policy: str, name: str, planned: str, gain: str) -> dict[str, str]:
        return {"scenario": "two_sites", "set": name, "policy": policy, "planned": planned, "gain": gain}

    old = [
        row("ppo", "test", "5", "old"),
        row("learned", "2021", "5", "old"),
        row("greedy", "2021", "0", "old"),
    ]
    new = [row("learned", "test", "5", "new"), row("greedy", "test", "0", "new")]
    found = {(one["policy"], one["set"]): one["gain"] for one in ship.merged(old, new)}
    assert found == {
        ("ppo", "test"): "old",
        ("greedy", "2021"): "old",
        ("learned", "test"): "new",
        ("greedy", "test"): "new",
    }
