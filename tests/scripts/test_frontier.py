"""`scripts.frontier` end to end: tables, resuming after a kill, workers, and what it says to bad input."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from baselines.optimum.milp import solve
from gridai_env import make_instance
from gridai_env.analysis.latency_budgets import Sweep, instance_at, make_sweep, widest
from scripts import frontier
from scripts.runs.command import BAD_INPUT, INTERRUPTED
from scripts.runs.folder import read_run
from scripts.studies.latency import run as frontier_run
from scripts.studies.latency.points import compute
from scripts.studies.latency.tables import FrontierError, check_frontier, curve_returns
from scripts.studies.names import OPTIMUM

SMALL = ["--scenario", "two_sites", "--horizon-h", "6", "--axes", "scale", "--points", "3", "--jobs", "1"]


def command(folder: Path, *more: str) -> int:
    seeds = [] if "--seeds" in more else ["--seeds", "0", "1"]
    return frontier.main([*SMALL, *seeds, "--run-dir", str(folder), *more])


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frontier") / "run"
    assert command(folder, "--policies", "local_only") == 0
    return folder


def test_the_tables_hold_every_point(finished: Path) -> None:
    rows = rows_of(finished / "frontier.csv")
    assert len(rows) == 3 * 3 * 2
    assert {row["objective"] for row in rows} == {"benefit", "cost", "carbon"}
    assert {row["status"] for row in rows} == {"optimal"}
    for name in ("returns", "rid", "layers", "closed", "breakeven", "policies"):
        assert rows_of(finished / f"{name}.csv"), name
    assert len(rows_of(finished / "policies.csv")) == 3 * 2
    assert read_run(finished, "frontier")["finished"] is True
    assert list((finished / "tensorboard" / "scale_x1000" / "local_only").glob("events.*"))


def test_the_board_shows_falls_and_no_steep_rates(finished: Path) -> None:
    board = EventAccumulator(str(finished / "tensorboard" / "scale_x1000" / OPTIMUM))
    board.Reload()
    falls = {f"returns/{name}" for name in ("V_fall_usd", "cost_fall_usd", "emissions_fall_kg")}
    assert {tag for tag in board.Tags()["scalars"] if tag.startswith("returns/")} == falls
    cost: dict[int, list[float]] = {}
    for row in rows_of(finished / "frontier.csv"):
        if row["objective"] == "cost":
            cost.setdefault(int(row["point"]), []).append(float(row["value"]))
    means = [float(np.mean(cost[point])) for point in sorted(cost)]
    found = [event.value for event in board.Scalars("returns/cost_fall_usd")]
    assert found == pytest.approx([means[0] - means[1], means[1] - means[2]], rel=1e-5, abs=1e-3)
    assert max(found) > 0.0


def test_parquet_and_csv_agree(finished: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="Parquet needs pyarrow")
    table = pq.read_table(finished / "frontier.parquet").to_pylist()
    for row, text in zip(table, rows_of(finished / "frontier.csv"), strict=True):
        assert row["value"] == float(text["value"])
        assert row["objective"] == text["objective"]


def test_values_are_those_of_programs_built_afresh(finished: Path) -> None:
    instance = make_instance("two_sites", seed=1, horizon_h=6)
    sweep = make_sweep(instance.scenario, "scale", points=3)
    base = widest(instance, sweep)
    found = {
        (row["objective"], int(row["point"])): float(row["value"])
        for row in rows_of(finished / "frontier.csv")
        if row["seed"] == "1"
    }
    tightest = solve(instance_at(base, sweep, 0), threads=1)
    for point in range(3):
        at = instance_at(base, sweep, point)
        assert found["benefit", point] == pytest.approx(-solve(at, threads=1).objective_value, rel=1e-6)
        for objective in ("cost", "carbon"):
            plan = solve(at, objective, floor=tightest, threads=1)
            assert found[objective, point] == pytest.approx(plan.objective_value, rel=1e-6)


def test_returns_follow_from_the_values(finished: Path) -> None:
    rows = rows_of(finished / "frontier.csv")
    cost = np.array(
        [[float(r["value"]) for r in rows if r["objective"] == "cost" and r["seed"] == seed] for seed in "01"]
    )
    grid = [float(r["scale"]) for r in rows if r["objective"] == "cost" and r["seed"] == "0"]
    arcs = [float(r["arc_per_percent"]) for r in rows_of(finished / "returns.csv") if r["quantity"] == "cost"]
    expected = -np.diff(cost.mean(0)) / (100.0 * np.diff(grid))
    assert arcs == pytest.approx(expected.tolist())


def test_a_second_run_computes_nothing(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "points").iterdir()}
    table = (finished / "frontier.csv").read_bytes()
    assert command(finished, "--policies", "local_only") == 0
    assert {path: path.stat().st_mtime_ns for path in (finished / "points").iterdir()} == before
    assert (finished / "frontier.csv").read_bytes() == table
    assert "points computed" not in capsys.readouterr().out


def without_times(folder: Path) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows_of(folder / "frontier.csv")]


def interrupted_after(count: int) -> Callable[[Sequence[Any]], Iterator[Any]]:
    """Compute points, until ctrl-C ends it after so many."""
    done = 0

    def interrupted(batch: Sequence[Any]) -> Iterator[Any]:
        nonlocal done
        for record in compute(batch):
            if done == count:
                raise KeyboardInterrupt
            done += 1
            yield record

    return interrupted


def test_a_killed_sweep_goes_on_where_it_stopped(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "killed"
    with monkeypatch.context() as patch:
        patch.setattr(frontier_run, "compute", interrupted_after(4))
        assert command(folder) == INTERRUPTED
    message = capsys.readouterr().err
    kept = {path: path.stat().st_mtime_ns for path in (folder / "points").iterdir()}
    assert f"{len(kept)} of 18 points are kept" in message
    assert len(kept) == 4, "each point is written as soon as it is known"
    assert command(folder) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert without_times(folder) == without_times(finished)


def test_two_workers_find_the_same(finished: Path, tmp_path: Path) -> None:
    assert command(tmp_path / "two", "--jobs", "2") == 0
    for ours, theirs in zip(without_times(tmp_path / "two"), without_times(finished), strict=True):
        assert ours.keys() == theirs.keys()
        for name in ("value", "bound", "benefit_usd"):
            assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=1e-7)


def test_a_half_written_point_is_named_and_the_others_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "half"
    assert command(folder, "--seeds", "0") == 0
    points = sorted((folder / "points").iterdir())
    whole = points[0].read_bytes()
    points[0].write_bytes(whole[: len(whole) // 2])
    assert command(folder, "--seeds", "0") == BAD_INPUT
    assert points[0].name in capsys.readouterr().err
    assert sorted((folder / "points").iterdir()) == points
    points[0].unlink()
    assert command(folder, "--seeds", "0") == 0


def test_points_of_something_else_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "other"
    assert command(folder, "--seeds", "0", "--points", "2") == 0
    path = next((folder / "points").iterdir())
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"key": "0" * 64}))
    assert command(folder, "--seeds", "0", "--points", "2") == BAD_INPUT
    assert "belongs to another scenario, version or setting" in capsys.readouterr().err
    path.write_text(json.dumps(record | {"environment_version": "0"}))
    assert command(folder, "--seeds", "0", "--points", "2") == BAD_INPUT
    assert "environment_version" in capsys.readouterr().err
    assert command(folder, "--seeds", "0", "--points", "2", "--carbon-price-usd-per-t", "99") == BAD_INPUT
    assert "another scenario" in capsys.readouterr().err
    assert command(folder, "--seeds", "0", "--points", "2", "--overwrite") == 0


def test_points_of_another_service_floor_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "floor"
    assert command(folder, "--points", "2") == 0
    path = folder / "points" / "scale_seed0_benefit_point00.json"
    record = json.loads(path.read_text())
    record["floor"]["served_gpuh"] = [0.5 * x for x in record["floor"]["served_gpuh"]]
    path.write_text(json.dumps(record))
    assert command(folder, "--points", "2") == BAD_INPUT
    assert "scale_seed0_cost_point00.json: key" in capsys.readouterr().err


def test_points_at_the_time_limit_are_solved_again_with_more_time(tmp_path: Path) -> None:
    folder = tmp_path / "late"
    assert command(folder, "--points", "2", "--time-limit-s", "60") == 0
    path = folder / "points" / "scale_seed0_cost_point01.json"
    record = json.loads(path.read_text())
    value = record["row"]["value"]
    record["row"] |= {"status": "time_limit", "value": float("nan")}
    path.write_text(json.dumps(record))
    assert command(folder, "--points", "2", "--time-limit-s", "60") == 0
    row = next(
        r
        for r in rows_of(folder / "frontier.csv")
        if (r["seed"], r["objective"], r["point"]) == ("0", "cost", "1")
    )
    assert row["value"] == "", "no more time: the point stays as it was"
    assert command(folder, "--points", "2", "--time-limit-s", "90") == 0
    row = next(
        r
        for r in rows_of(folder / "frontier.csv")
        if (r["seed"], r["objective"], r["point"]) == ("0", "cost", "1")
    )
    assert float(row["value"]) == pytest.approx(value, rel=1e-9)


SWEEP = Sweep("scale", (0.5, 1.0))


def solved(**values: tuple[float, float]) -> list[dict[str, Any]]:
    """Rows of one seed at two points: value and bound alike."""
    return [
        {"axis": "scale", "seed": 0, "point": i, "objective": name, "value": value, "bound": value}
        for name, pair in values.items()
        for i, value in enumerate(pair)
    ]


def policy(**changes: Any) -> dict[str, Any]:
    """What a policy comes to at the second point."""
    check = {"axis": "scale", "seed": 0, "point": 1, "policy": "mine", "keeps_floor": True, "scale": 100.0}
    return check | {"benefit": -5.0, "cost": 60.0, "carbon": 20.0} | changes


FINE = {"benefit": (-10.0, -12.0), "cost": (55.0, 50.0), "carbon": (12.0, 10.0)}


def test_a_frontier_that_falls_with_policies_above_it_is_fine() -> None:
    check_frontier(solved(**FINE), [policy(), policy(keeps_floor=False, cost=1.0, carbon=0.0)], [SWEEP])


@pytest.mark.parametrize("objective", ["benefit", "cost", "carbon"])
def test_a_rising_frontier_and_a_policy_below_it_are_faults(objective: str) -> None:
    rising = FINE | {objective: FINE[objective][::-1]}
    with pytest.raises(FrontierError, match=objective):
        check_frontier(solved(**rising), [], [SWEEP])
    below = {"benefit": -13.0, "cost": 49.0, "carbon": 9.0}[objective]
    with pytest.raises(FrontierError, match="mine"):
        check_frontier(solved(**FINE), [policy(**{objective: below})], [SWEEP])


def test_a_point_without_a_plan_leaves_its_returns_open() -> None:
    rows = solved(**FINE)
    for row in rows:
        if row["objective"] == "cost" and row["point"] == 1:
            row |= {"value": float("nan"), "bound": 20.0}
    found = curve_returns(rows, SWEEP, "cost")
    assert found is not None
    assert np.isnan(found.arc[0])
    assert not np.isfinite(found.arc_low[0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--axes", "scal"], "no such class"),
        (["--axes", "scale", "scale"], "given twice"),
        (["--grid"], "expected at least one argument"),
        (["--grid", "1.0", "0.5"], "sort the points"),
        (["--grid", "0.5", "0.5"], "stands twice"),
        (["--grid", "0", "1"], "above 0"),
        (["--grid", "a"], "must be a number"),
        (["--axes", "scale", "sessions", "--grid", "1"], "single axis"),
        (["--points", "1"], "at least 2"),
        (["--policies", "milp"], "on the frontier anyway"),
        (["--policies", "greedi"], "unknown"),
        (["--jobs", "0"], "at least 1"),
        (["--threads", "0"], "at least 1"),
        (["--seeds", "x"], "whole numbers"),
        (["--mip-gap", "2"], "mip-gap"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["--scenario", "two_sites", "--horizon-h", "6", "--run-dir", str(tmp_path / "run")]
    axes = [] if "--axes" in words else ["--axes", "scale"]
    try:
        assert frontier.main([*base, *axes, *words]) == BAD_INPUT
    except SystemExit as error:
        assert error.code == BAD_INPUT
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "run" / "frontier.csv").exists()


def test_a_folder_of_another_kind_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.json").write_text('{"kind": "compare"}')
    assert command(tmp_path) == BAD_INPUT
    assert "compare" in capsys.readouterr().err


def test_ray_is_named_where_it_is_missing_or_does_not_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path / "ray", "--ray", "127.0.0.1:1") == BAD_INPUT
    said = capsys.readouterr().err
    assert ".[ray]" in said or "no Ray cluster answers" in said


@pytest.mark.ray
def test_a_ray_cluster_on_this_machine_finds_the_same(finished: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'gridai-env[ray]'")
    assert command(tmp_path / "ray", "--ray", "local", "--jobs", "2") == 0
    for ours, theirs in zip(without_times(tmp_path / "ray"), without_times(finished), strict=True):
        assert float(ours["value"]) == pytest.approx(float(theirs["value"]), rel=1e-7)
