"""The ladder of a comparison: planners and variants take part, regret splits into parts that add up, seeds are
played side by side with equal results, a killed comparison goes on, and nobody passes the bound unnoticed."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from baselines.optimum import milp
from baselines.rules.greedy import Greedy
from gridai_env.episodes.instance import make_instance
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import load_scenario
from gridai_env.world.actions import Layout
from scripts import compare
from scripts.runs.command import InputError
from scripts.runs.folder import differences, read_run
from scripts.runs.tables import write_rows
from scripts.studies import contest
from scripts.studies.comparison import match, run
from scripts.studies.comparison.ladder import PARTS, ladder_notes, ladder_table, record_of, rungs_of
from scripts.studies.comparison.table import footnotes
from scripts.studies.policies import PolicySpec, find_contenders, resolved
from tests.support.words import replaced

BASE = ["--scenario", "two_sites", "--horizon-h", "6", "--threads", "1"]


@pytest.fixture(scope="module", autouse=True)
def nothing_shown() -> Iterator[None]:
    """No pictures: drawing takes longer than all else here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "SHOWN_SEEDS", 0)
        yield


TIMES = ("seconds_per_decision", "build_s", "solve_s")


def rows_in(folder: Path, name: str = "summary.csv") -> list[dict[str, str]]:
    with open(folder / name, newline="") as file:
        return list(csv.DictReader(file))


def without_times(folder: Path) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows_in(folder)]


# The split, by hand


def made_up(
    scores: dict[str, list[float]], bound: list[float], objective: str = "benefit"
) -> list[dict[str, Any]]:
    """Rows of some policies with the given scores on seeds 0, 1, ..."""
    return [
        {
            "policy": policy,
            "seed": seed,
            "objective": objective,
            "benefit_usd": score,
            "score": score,
            "bound_score": bound[seed],
            "local_score": 0.0,
            "bound_margin": 0.1,
        }
        for policy, values in scores.items()
        for seed, score in enumerate(values)
    ]


SCORES = {
    "greedy": [60.0, 70.0],
    "local_only": [0.0, 0.0],
    "mpc:persistence": [70.0, 60.0],
    "ppo:a.zip": [82.0, 95.0],
    "mpc:day_ahead": [80.0, 90.0],
    "milp": [99.0, 110.0],
    "variant:no_battery": [85.0, 91.0],
    "mpc:perfect": [95.0, 105.0],
}


def test_the_split_by_hand() -> None:
    rungs = {r.policy: r for r in rungs_of(made_up(SCORES, [100.0, 110.0]), "day_ahead")}
    expected = {  # means of regret, foresight, horizon, forecast error, decisions
        "milp": (0.5, 0.0, 0.0, 0.0, 0.5),
        "variant:no_battery": (17.0, 0.0, 0.0, 0.0, 17.0),
        "mpc:perfect": (5.0, 5.0, 5.0, 0.0, 0.0),
        "mpc:day_ahead": (20.0, 20.0, 5.0, 15.0, 0.0),
        "mpc:persistence": (40.0, 40.0, 5.0, 35.0, 0.0),
        "ppo:a.zip": (16.5, 20.0, 5.0, 15.0, -3.5),
        "greedy": (40.0, 20.0, 5.0, 15.0, 20.0),
        "local_only": (105.0, 20.0, 5.0, 15.0, 85.0),
    }
    for policy, figures in expected.items():
        rung = rungs[policy]
        found = (rung.regret.value, *(rung.parts[name].value for name in PARTS))
        assert found == pytest.approx(figures), policy
        assert rung.regret.value == pytest.approx(found[1] + found[4])
    # Two episodes: the interval of a mean spans both; the policy loses 18 and 15.
    assert (rungs["ppo:a.zip"].regret.low, rungs["ppo:a.zip"].regret.high) == (15.0, 18.0)
    assert rungs["ppo:a.zip"].gain_captured.value == pytest.approx((82.0 + 95.0) / 210.0)


def test_what_plans_several_futures_is_measured_against_the_planner() -> None:
    """It knows no more than the planner: what it earns on top is decisions.  It stands with the planners."""
    scores = SCORES | {"mpc:scenarios": [84.0, 92.0]}
    rungs = {r.policy: r for r in rungs_of(made_up(scores, [100.0, 110.0]), "day_ahead")}
    rung = rungs["mpc:scenarios"]
    assert rung.regret.value == pytest.approx(17.0)
    assert [rung.parts[name].value for name in PARTS] == pytest.approx([20.0, 5.0, 15.0, -3.0])
    order = list(rungs)
    assert order.index("mpc:persistence") < order.index("mpc:scenarios") < order.index("ppo:a.zip")


def test_episodes_are_paired_whatever_their_order() -> None:
    """Greedy is 20 below the planner on either episode, so its interval has no width; unpaired it would."""
    rows = made_up(SCORES, [100.0, 110.0])
    for some in (rows, sorted(rows, key=lambda row: row["seed"] * (-1) ** (row["policy"] == "greedy"))):
        parts = {r.policy: r for r in rungs_of(some, "day_ahead")}["greedy"].parts
        decisions = parts["decisions"]
        assert (decisions.low, decisions.value, decisions.high) == (20.0, 20.0, 20.0)
        assert (parts["foresight"].low, parts["foresight"].high) == (20.0, 20.0)


def test_rungs_stand_in_order() -> None:
    names = [rung.policy for rung in rungs_of(made_up(SCORES, [100.0, 110.0]), "day_ahead")]
    assert names == [
        "bound",
        "milp",
        "variant:no_battery",
        "mpc:perfect",
        "mpc:day_ahead",
        "mpc:persistence",
        "ppo:a.zip",
        "greedy",
        "local_only",
    ]


def test_a_perfect_forecast_has_no_error() -> None:
    scores = {name: SCORES[name] for name in ("mpc:perfect", "greedy")}
    rungs = {r.policy: r for r in rungs_of(made_up(scores, [100.0, 110.0]), "perfect")}
    figures = [rungs["greedy"].parts[name].value for name in PARTS]
    assert figures == pytest.approx([5.0, 5.0, 0.0, 35.0])


def test_without_the_planners_nothing_is_split() -> None:
    scores = {name: SCORES[name] for name in ("mpc:day_ahead", "greedy", "milp")}
    rungs = rungs_of(made_up(scores, [100.0, 110.0]), "day_ahead")
    assert all(not rung.parts for rung in rungs)
    notes = "\n".join(ladder_notes(rungs, "day_ahead"))
    assert "add mpc:perfect to --policies" in notes
    assert np.isnan(record_of(0, rungs[1])["decisions"])
    assert "add mpc:perfect mpc:persistence" in "\n".join(ladder_notes(rungs, "persistence"))


def test_other_objectives_are_not_split() -> None:
    rungs = rungs_of(made_up(SCORES, [100.0, 110.0], "carbon"), "day_ahead")
    assert all(not rung.parts for rung in rungs)
    assert record_of(0, rungs[1])["unit"] == "kg"
    assert "--objective benefit only" in "\n".join(ladder_notes(rungs, "day_ahead"))


def test_an_episode_without_a_bound_has_no_regret() -> None:
    rungs = rungs_of(made_up(SCORES, [100.0, float("nan")]), "day_ahead")
    assert all(np.isnan(rung.regret.value) for rung in rungs[1:])
    assert " - " in ladder_table(rungs)


# Policies without a plan on some episodes


def without(rows: list[dict[str, Any]], *gone: tuple[str, int]) -> list[dict[str, Any]]:
    return [row for row in rows if (row["policy"], row["seed"]) not in gone]


def test_rungs_are_means_over_the_same_episodes() -> None:
    """The bound is 100 and 700: where milp is missing on the first, its own mean would be above the bound's."""
    scores = {"greedy": [60.0, 600.0], "milp": [99.0, 699.0], "local_only": [70.0, 500.0]}
    rows = without(made_up(scores, [100.0, 700.0]), ("milp", 0))
    rungs = rungs_of(rows, "day_ahead")
    assert [rung.policy for rung in rungs] == ["bound", "milp", "greedy", "local_only"]
    assert [rung.benefit_usd.value for rung in rungs] == [700.0, 699.0, 600.0, 500.0]
    assert [rung.regret.value for rung in rungs[1:]] == [1.0, 100.0, 200.0]
    assert {record_of(0, rung)["episodes"] for rung in rungs} == {1}
    assert "1 of 2 episodes on which every policy has a result" in "\n".join(ladder_notes(rungs, "day_ahead"))
    assert "(n = " not in ladder_table(rungs)
    whole = rungs_of(made_up(scores, [100.0, 700.0]), "day_ahead")
    assert not any("every policy has a result" in note for note in ladder_notes(whole, "day_ahead"))


def test_rungs_without_an_episode_in_common_say_so() -> None:
    scores = {"mpc:perfect": [60.0, 600.0], "mpc:day_ahead": [50.0, 500.0], "milp": [99.0, 699.0]}
    rows = made_up(scores | {"variant:no_battery": [70.0, 690.0]}, [100.0, 700.0])
    rungs = rungs_of(without(rows, ("milp", 0), ("variant:no_battery", 1)), "day_ahead")
    table = ladder_table(rungs)
    for text in ("bound (n = 2)", "milp (n = 1)", "variant:no_battery (n = 1)", "mpc:perfect (n = 2)"):
        assert text in table
    assert "means over n episodes of their own" in "\n".join(ladder_notes(rungs, "day_ahead"))
    found = {rung.policy: rung for rung in rungs}
    assert (found["milp"].regret.value, found["variant:no_battery"].regret.value) == (1.0, 30.0)
    assert found["milp"].parts["decisions"].value == 1.0
    # Nor is regret split by a planner that has not played the episode.
    rungs = rungs_of(without(rows, ("mpc:perfect", 0), ("variant:no_battery", 1)), "day_ahead")
    assert not next(rung for rung in rungs if rung.policy == "milp").parts


# The real thing


LADDER = [
    "local_only",
    "greedy",
    "random",
    "mpc:persistence",
    "mpc:day_ahead",
    "mpc:perfect",
    "variant:no_battery",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished ladder on two seeds."""
    path = tmp_path_factory.mktemp("ladder") / "run"
    words = [*BASE, "--policies", *LADDER, "milp", "--seeds", "3", "5", "--run-dir", str(path)]
    assert compare.main(words) == 0
    return path


def test_bound_over_all_and_parts_that_add_up(folder: Path) -> None:
    rows = rows_in(folder)
    assert {(row["policy"], row["seed"]) for row in rows} == {(p, s) for p in [*LADDER, "milp"] for s in "35"}
    for row in rows:
        assert float(row["benefit_usd"]) <= float(row["bound_usd"]) + 1e-6 * abs(float(row["bound_usd"]))
        assert float(row["bound_margin"]) >= -1e-6
    ladder = {row["policy"]: row for row in rows_in(folder, "ladder.csv")}
    assert list(ladder)[:6] == ["bound", "milp", "variant:no_battery", *reversed(LADDER[3:6])]
    assert set(list(ladder)[6:]) == {"local_only", "greedy", "random"}
    for name, row in ladder.items():
        if name == "bound":
            assert row["decisions"] == ""
            continue
        figures = {part: float(row[part]) for part in ("regret", *PARTS)}
        assert figures["regret"] == pytest.approx(figures["foresight"] + figures["decisions"], abs=1e-6)
        assert figures["foresight"] == pytest.approx(figures["horizon"] + figures["forecast_error"], abs=1e-6)
        mean = np.mean([float(r["benefit_usd"]) for r in rows if r["policy"] == name])
        assert float(row["benefit_usd"]) == pytest.approx(mean)
        assert figures["regret"] == pytest.approx(float(ladder["bound"]["benefit_usd"]) - mean)


def test_folders_and_names(folder: Path) -> None:
    policies = read_run(folder, "compare")["policies"]
    assert policies["mpc_day_ahead"] == "mpc:day_ahead"
    assert policies["variant_no_battery"] == "variant:no_battery"
    assert (folder / "tables" / "mpc_perfect_seed3.csv").is_file()
    assert {path.name for path in (folder / "tensorboard").iterdir()} == set(policies)


def test_planners_and_variants_are_in_tensorboard(folder: Path) -> None:
    boards = {}
    for name in ("mpc_day_ahead", "variant_no_battery", "greedy"):
        boards[name] = EventAccumulator(str(folder / "tensorboard" / name))
        boards[name].Reload()
    tags = {name: set(board.Tags()["scalars"]) for name, board in boards.items()}
    assert tags["greedy"] == tags["mpc_day_ahead"] == tags["variant_no_battery"]
    assert {f"ladder/{part}" for part in ("regret", *PARTS)} <= tags["greedy"]
    ladder = {row["policy"]: row for row in rows_in(folder, "ladder.csv")}
    (event,) = boards["greedy"].Scalars("ladder/decisions")
    assert event.value == pytest.approx(float(ladder["greedy"]["decisions"]), rel=1e-6)
    text = boards["greedy"].Tensors("ladder/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "mpc:persistence" in text


def test_the_planner_of_the_own_forecast_is_the_one_of_its_kind() -> None:
    compiled = compile_scenario(load_scenario("two_sites"))
    assert resolved("mpc:own", compiled) == "mpc:day_ahead"
    assert find_contenders(["mpc:own"], compiled)[0].decider.kind is None  # type: ignore[attr-defined]
    told = compile_scenario(load_scenario("two_sites", forecast="published"))
    assert resolved("mpc:own", told) == "mpc:published"
    with pytest.raises(InputError, match="forecasts hold none of this kind; add --forecast published"):
        find_contenders(["mpc:published"], compiled)


def test_day_ahead_needs_forecasts_of_that_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*BASE, "--forecast", "perfect", "--policies", "mpc:day_ahead", "--run-dir", str(tmp_path / "x")]
    assert compare.main(words) == 2
    message = capsys.readouterr().err
    assert "--forecast day_ahead" in message
    assert "Traceback" not in message


# Side by side


def test_workers_change_nothing(folder: Path, tmp_path: Path) -> None:
    """Whoever plays a seed, and whatever was played before it: the same figures, files and order."""
    words = [*BASE, "--policies", *LADDER, "milp", "--seeds", "3", "5", "--run-dir", str(tmp_path / "two")]
    assert compare.main([*words, "--jobs", "2"]) == 0
    assert without_times(tmp_path / "two") == without_times(folder)
    assert (tmp_path / "two" / "ladder.csv").read_bytes() == (folder / "ladder.csv").read_bytes()
    names = {path.name for path in (folder / "tables").iterdir()}
    assert names == {path.name for path in (tmp_path / "two" / "tables").iterdir()}
    for name in names:
        assert (tmp_path / "two" / "tables" / name).read_bytes() == (folder / "tables" / name).read_bytes()
    records = [read_run(path)["instances"] for path in (folder, tmp_path / "two")]
    assert records[0] == records[1]


def test_seeds_may_finish_in_any_order(tmp_path: Path, monkeypatch: Any) -> None:
    """Rows and instances stand in the order in which the seeds were given."""

    honest = run.results_of
    monkeypatch.setattr(run, "results_of", lambda work, batches, *_: honest(work, batches[::-1]))
    words = [*BASE, "--policies", "local_only", "greedy", "--seeds", "7", "2", "--run-dir", str(tmp_path)]
    assert compare.main(words) == 0
    assert [row["seed"] for row in rows_in(tmp_path)] == ["7", "7", "2", "2"]
    assert [instance["seed"] for instance in read_run(tmp_path)["instances"]] == [7, 2]


def test_seeds_are_played_by_new_policies(monkeypatch: Any, tmp_path: Path) -> None:
    """One process plays several seeds: what a policy remembers of one must not reach the next."""
    made = []
    honest = match.find_contenders

    def noted(*arguments: Any) -> Any:
        made.append([contender.policy for contender in honest(*arguments)])
        return honest(*arguments)

    monkeypatch.setattr(match, "find_contenders", noted)
    words = [*BASE, "--policies", "greedy", "--seeds", "0", "1", "--run-dir", str(tmp_path)]
    assert compare.main(words) == 0
    assert len(made) == 2
    assert made[0][0] is not made[1][0]


# Going on


GOING = ["--scenario", "two_sites", "--horizon-h", "4", "--policies", "local_only", "random", "milp"]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of four seeds that was killed without warning after the first."""
    path = tmp_path_factory.mktemp("killed") / "run"
    words = [*GOING, "--seeds", "0-3", "--threads", "1", "--run-dir", str(path)]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *words],
        cwd=Path(__file__).resolve().parents[3],
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 120.0
    while not (path / "summary.csv").exists() and time.monotonic() < end:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert read_run(path)["finished"] is False
    return path


# Compares, but rests a second before each policy but the first three: time to be killed in.
SLOW = """
import sys, time
from scripts import compare
from scripts.studies.comparison import match, run
run.SHOWN_SEEDS = 0
honest, calls = match.play, []
def slow(*arguments):
    calls.append(1)
    time.sleep(1.0 if len(calls) > 3 else 0.0)
    return honest(*arguments)
match.play = slow
compare.main(sys.argv[1:])
"""


def test_a_killed_comparison_goes_on(
    killed: Path, tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same summary as in one go, and nothing computed twice."""
    there = shutil.copytree(killed, tmp_path / "there")
    finished = {int(row["seed"]) for row in rows_in(there)}
    assert 1 <= len(finished) < 4
    words = [*GOING, "--seeds", "0-3", "--threads", "1", "--run-dir"]
    played = []
    honest = match.refer
    monkeypatch.setattr(match, "refer", lambda i, *a, **o: (played.append(i.seed), honest(i, *a, **o))[1])
    assert compare.main([*words, str(there), "--continue"]) == 0
    assert played == sorted(set(range(4)) - finished)
    assert f"{len(finished)} of them finished before" in capsys.readouterr().out
    assert compare.main([*words, str(tmp_path / "once")]) == 0
    assert without_times(there) == without_times(tmp_path / "once")
    assert (there / "ladder.csv").read_bytes() == (tmp_path / "once" / "ladder.csv").read_bytes()
    for path in (tmp_path / "once" / "tables").iterdir():
        assert (there / "tables" / path.name).read_bytes() == path.read_bytes()
    board = EventAccumulator(str(there / "tensorboard" / "random"))
    board.Reload()
    assert sorted(event.step for event in board.Scalars("episode/benefit_usd")) == [0, 1, 2, 3]
    assert read_run(there)["finished"] is True
    assert read_run(there)["earlier_commits"] == [str(read_run(killed)["commit"])]
    # Once more: all is there, and more seeds may follow.
    played.clear()
    assert compare.main([*words, str(there), "--continue"]) == 0
    assert played == []
    more = [*GOING, "--seeds", "0-4", "--threads", "1", "--run-dir", str(there), "--continue"]
    assert compare.main(more) == 0
    assert played == [4]
    assert [row["seed"] for row in rows_in(there)][::3] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["--horizon-h", "5"], ["scenario_resolved.horizon_h was 4.0 and is now 5.0"]),
        (["--policies", "local_only", "greedy", "milp"], ["policies[1] was 'random' and is now 'greedy'"]),
        (["--policies", "local_only"], ["policies was", "['local_only']"]),
        (["--objective", "cost"], ["objective was 'benefit' and is now 'cost'"]),
        (["--mip-gap", "0.1"], ["mip_gap was 0.001 and is now 0.1"]),
        (["--seeds", "1-3"], ["has the seeds 0 1 2 3", "must begin with these"]),
        (["--seeds", "0-2"], ["must begin with these"]),
        (["--overwrite"], ["without --overwrite"]),
    ],
)
def test_going_on_with_something_else_is_refused(
    words: list[str], texts: list[str], killed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in killed.rglob("*.*") if path.is_file()}
    base = [*GOING, "--seeds", "0-3", "--threads", "1", "--run-dir", str(killed), "--continue"]
    message = refused(replaced(base, *words), capsys)
    for text in texts:
        assert text in message
    assert {path: path.read_bytes() for path in killed.rglob("*.*") if path.is_file()} == before


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert compare.main(words) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert "Traceback" not in shown.err
    return shown.err


def test_going_on_needs_the_same_world(
    killed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another version of the environment, other episodes, a damaged record, no folder: one line each."""
    base = [*GOING, "--seeds", "0-3", "--threads", "1", "--continue", "--run-dir"]
    assert "--run-dir" in refused(base[:-1], capsys)
    there = shutil.copytree(killed, tmp_path / "version")
    text = (there / "run.json").read_text()
    (there / "run.json").write_text(re.sub(r'"environment_version": \d+', '"environment_version": 99', text))
    assert "environment_version is 99" in refused([*base, str(there)], capsys)
    there = shutil.copytree(killed, tmp_path / "episodes")
    record = there / "seeds" / "seed0.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"key": "0" * 64}))
    assert "seed0.json: key is '000000000000'" in refused([*base, str(there)], capsys)
    record.write_text("{")
    assert "seed0.json: not a whole point file" in refused([*base, str(there)], capsys)
    shutil.rmtree(there / "seeds")
    assert "written by an earlier version of this program" in refused([*base, str(there)], capsys)
    (there / "run.json").unlink()
    assert "no run.json" in refused([*base, str(there)], capsys)


def test_going_on_in_an_empty_folder_begins(tmp_path: Path) -> None:
    words = [*GOING, "--seeds", "0", "--threads", "1", "--run-dir", str(tmp_path / "new"), "--continue"]
    assert compare.main(words) == 0
    assert len(rows_in(tmp_path / "new")) == 3


def test_a_network_that_changed_is_another_policy(tmp_path: Path, monkeypatch: Any) -> None:
    file = tmp_path / "model.zip"
    file.write_bytes(b"first")
    name = f"ppo:{file}"
    job = match.EpisodeJob(None, (name,), "benefit", {}, match.checkpoints([name]))  # type: ignore[arg-type]
    file.write_bytes(b"second")
    with pytest.raises(InputError, match="changed during the comparison"):
        job.contenders()


def test_differences_in_words() -> None:
    there = {"a": {"b": [1, {"c": 2}]}, "d": 1}
    assert list(differences(there, {"a": {"b": [1, {"c": 3}]}, "e": 2}, "x")) == [
        "x.a.b[1].c was 2 and is now 3",
        "x.d was 1 and is now None",
        "x.e was None and is now 2",
    ]


# Records


def test_rows_are_written_in_full_precision(tmp_path: Path) -> None:
    row = {
        "policy": "a,b",
        "seed": 3,
        "x": 0.1 + 0.2,
        "tiny": 5e-324,
        "none": float("nan"),
        "far": float("inf"),
    }
    write_rows([row, row], tmp_path / "rows.csv")
    for cells in rows_in(tmp_path, "rows.csv"):
        assert (cells.pop("policy"), int(cells.pop("seed")), cells.pop("none")) == ("a,b", 3, "")
        assert {name: float(cell) for name, cell in cells.items()} == {
            n: row[n] for n in ("x", "tiny", "far")
        }
    assert ",," in (tmp_path / "rows.csv").read_text()
    assert os.listdir(tmp_path) == ["rows.csv"]


# Nobody passes the bound


@pytest.fixture
def lowered(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """Makes the solver prove too much: its bound moves towards (and past) the plan by some USD or kg."""
    honest = milp.solve

    def lower(by: float) -> None:
        def solve(*arguments: Any, **options: Any) -> Any:
            plan = honest(*arguments, **options)
            sign = 1.0 if plan.objective == "benefit" else -1.0
            return replace(plan, bound=plan.bound - sign * by)

        monkeypatch.setattr(milp, "solve", solve)

    yield lower


def test_a_policy_beyond_the_bound_is_a_defect(
    lowered: Callable[[float], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lowered(1.0)
    words = [*GOING, "--seeds", "4", "--threads", "1", "--run-dir", str(tmp_path)]
    assert compare.main(words) == 1
    shown = capsys.readouterr()
    row = next(row for row in rows_in(tmp_path) if row["policy"] == "milp")
    for text in ("seed 4", "milp", "passes the proven bound", f"{float(row['benefit_usd']):,.6f}", "1e-06"):
        assert text in shown.err
    assert "gain captured" not in shown.out
    assert read_run(tmp_path)["finished"] is False
    # Nor does going on forget it.
    assert compare.main([*words, "--continue"]) == 1
    assert "passes the proven bound" in capsys.readouterr().err


@pytest.mark.parametrize("objective", ["cost", "carbon"])
def test_least_cost_and_carbon_are_bounds_of_those_who_serve(
    objective: str, lowered: Callable[[float], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*GOING[:-2], "greedy", "--objective", objective, "--seeds", "4", "--threads", "1", "--run-dir"]
    assert compare.main([*words, str(tmp_path / "honest")]) == 0
    rows = {row["policy"]: row for row in rows_in(tmp_path / "honest")}
    keeps = [name for name, row in rows.items() if row["bound_margin"] and float(row["bound_margin"]) >= 0.0]
    assert "local_only" in keeps
    room = min(float(rows[name]["bound_score"]) - float(rows[name]["score"]) for name in keeps)
    lowered(room + 1.0)
    assert compare.main([*words, str(tmp_path / "lowered")]) == 1
    assert f"passes the proven bound: {objective}" in capsys.readouterr().err


def test_the_margin_is_measured_in_absolute_terms() -> None:
    instance = make_instance("two_sites", seed=5, horizon_h=6.0)
    reference = contest.refer(instance, "benefit", threads=1)
    trajectory = contest.run(Greedy(), instance)
    scale = sum(np.abs(values).sum() for values in trajectory.outcome.terms_usd.values())
    expected = (reference.plan.bound - trajectory.benefit_usd) / scale
    assert expected > 1e-4
    assert reference.bound_margin(trajectory) == pytest.approx(expected, rel=1e-9)


def test_decisions_that_ran_out_of_time_are_counted() -> None:
    instance = make_instance("two_sites", seed=5, horizon_h=6.0)
    reference, planner, rule = contest.refer(instance, "benefit", threads=1), Greedy(), Greedy()
    planner.statuses = {"optimal": 3, "time_limit": 2, "infeasible": 1}  # type: ignore[attr-defined]
    trajectory = contest.run(rule, instance)
    rows = [
        contest.row_of(PolicySpec(name, name, policy), reference, trajectory)
        for name, policy in (("mpc:perfect", planner), ("greedy", rule), ("milp", None))
    ]
    assert [row["decisions_not_optimal"] for row in rows] == [3, 0, 0]
    notes = [note for note in footnotes([*rows, rows[0]]) if "not proven optimal" in note]
    assert len(notes) == 1 and notes[0].startswith("mpc:perfect: 6 decision(s)")
    assert not any("not proven optimal" in note for note in footnotes(rows[1:]))


class RefusesAll:
    """Serves nothing and rests."""

    def prepare(self, compiled: Any) -> None:
        layout = Layout(compiled.shape)
        self.action = np.zeros(layout.size, np.float32)
        routing = layout.split(self.action)["routing"]
        routing[..., -1], routing[..., -2] = 1.0, -1.0

    def predict(self, *_: Any, **__: Any) -> Any:
        return self.action, None


def test_who_serves_less_is_not_measured_by_least_carbon() -> None:
    """Refusing everything is cleaner than the cleanest service: no defect, but no result either."""
    reference = contest.refer(make_instance("two_sites", seed=5, horizon_h=4.0), "carbon", threads=1)
    trajectory = contest.run(RefusesAll(), reference.instance)
    assert trajectory.metrics["served_gpuh"] == 0.0
    assert reference.score(trajectory) > reference.bound_score
    assert np.isnan(reference.bound_margin(trajectory))
    assert not reference.meets_floor(trajectory)
