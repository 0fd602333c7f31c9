"""The cost of a contract: by hand, promises of the grid, Shapley values, resumption and bad input."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from baselines.optimum.milp import solve
from baselines.optimum.variants import LEVERS
from gridai_env.analysis.connection_cost import Yearly, lever_values
from gridai_env.analysis.loss_by_lever import coalitions
from gridai_env.episodes.instance import make_instance
from scripts import flexibility as command
from scripts.runs.command import BAD_INPUT, INTERRUPTED, InputError
from scripts.runs.folder import read_run
from scripts.studies.flexibility import cells, run
from scripts.studies.flexibility.contract import Contract, find_line
from tests.support import small_scenario
from tests.support.firm_campus import (
    CALL_H,
    MAX_MW,
    MEETS_USD_PER_MWH,
    PRICE_USD_PER_MWH,
    firm_campus,
    write_campus,
)

pytest.importorskip("matplotlib")
CAMPUS = ("--scenario", "flexible_campus", "--jobs", "1")
KEPT = MEETS_USD_PER_MWH - PRICE_USD_PER_MWH  # 108.8 USD/MWh


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def costs(folder: Path, column: str = "cost_usd_per_mw_year") -> dict[tuple[float, str], float]:
    """Cost by firm share and column of the table."""
    rows = rows_of(folder / "flexibility.csv")
    return {(float(row["firm_share"]), row["label"]): float(row[column] or "nan") for row in rows}


# By hand ------------------------------------------------------------------------------------------------------------


def test_a_call_of_three_hours_by_hand(tmp_path: Path) -> None:
    """30 MW above the line for 3 h are 90 MWh, 90,000 USD at 1,000 USD/MWh, where the work is worth it."""
    instance = make_instance(firm_campus(tmp_path, {"price_usd_per_mwh": 1000.0}, margin=2.0))
    plan = solve(instance, mip_gap=0.0, threads=1)
    assert plan.flows.import_mw.max() == pytest.approx(MAX_MW, rel=1e-9)
    assert plan.flows.line_excess_mw.sum() == pytest.approx(90.0, rel=1e-9)
    firm = make_instance(firm_campus(tmp_path, {"mw": 100.0, "price_usd_per_mwh": 1000.0}, margin=2.0))
    assert solve(firm).benefit_usd - plan.benefit_usd == pytest.approx(90_000.0, rel=1e-6)


@pytest.mark.parametrize(("price", "is_dropped"), [(KEPT - 0.1, False), (KEPT + 0.1, True)])
def test_work_is_dropped_above_the_line_from_108_8_usd_on(
    price: float, is_dropped: bool, tmp_path: Path
) -> None:
    assert pytest.approx(108.8, abs=0.05) == KEPT
    instance = make_instance(firm_campus(tmp_path, {"price_usd_per_mwh": price}))
    plan = solve(instance, mip_gap=0.0, threads=1)
    excess_mwh = float(plan.flows.line_excess_mw.sum())
    assert excess_mwh == pytest.approx(0.0 if is_dropped else 90.0, abs=1e-6)


@pytest.mark.parametrize(
    ("line", "usd_per_mwh"),
    [({"price_usd_per_mwh": 50.0}, 50.0), ({"price_usd_per_mwh": 1000.0}, KEPT), ({"hard": True}, KEPT)],
)
def test_a_cell_by_hand(line: dict[str, Any], usd_per_mwh: float, tmp_path: Path) -> None:
    """Losses of 90 MWh in 3 called hours, 60 called hours a year, 30 MW not firm; 120 hours cost twice as much."""
    words = [
        "--scenario",
        str(write_campus(tmp_path, line)),
        "--seeds",
        "0",
        "1",
        "--firm-shares",
        "1",
        "0.7",
        "0.2",
    ]
    out = tmp_path / "out"
    assert command.main([*words, "--hours", "60", "120", "--jobs", "1", "--run-dir", str(out)]) == 0
    found = {(row["firm_share"], row["hours_a_year"]): row for row in rows_of(out / "flexibility.csv")
             if row["label"] == "none"}  # fmt: skip
    whole_usd = 90.0 * usd_per_mwh
    for hours in ("60.0", "120.0"):
        row = found["0.7", hours]
        assert float(row["loss_usd"]) == pytest.approx(2 * whole_usd, rel=1e-6)
        yearly_usd = whole_usd / CALL_H * float(hours)
        assert float(row["cost_usd_per_mw_year"]) == pytest.approx(yearly_usd / 30.0, rel=1e-6)
        assert float(row["cost_usd_per_mw_year_low"]) == pytest.approx(yearly_usd / 30.0, rel=1e-6)
        assert float(row["break_even_usd_per_mw_year"]) == pytest.approx(yearly_usd / 100.0, rel=1e-6)
    assert (
        float(found["1.0", "60.0"]["loss_usd"]) == 0.0 and found["1.0", "60.0"]["cost_usd_per_mw_year"] == ""
    )


def test_below_the_power_of_idle_accelerators_a_hard_line_cannot_be_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Idle accelerators draw 0.25 / 1.15 of 100 MW: 21.74 MW."""
    words = ["--scenario", str(write_campus(tmp_path, {"hard": True})), "--seeds", "0", "--firm-shares"]
    words += ["0.22", "0.21", "--shapley", "0.21", "--jobs", "1", "--run-dir"]
    assert command.main([*words, str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "from 21.7 MW" in printed and "not defined" in printed
    kept, shed = rows_of(tmp_path / "out" / "flexibility.csv")
    assert kept["cost_usd_per_mw_year"] and not kept["feasible_from_mw"]
    assert not shed["cost_usd_per_mw_year"] and not shed["loss_usd"] and float(shed["shed_mwh"]) > 0.0
    assert float(shed["feasible_from_mw"]) == pytest.approx(100.0 * 0.25 / 1.15, rel=1e-9)
    assert not (tmp_path / "out" / "shapley.csv").exists()


def test_losses_are_scaled_by_called_hours() -> None:
    yearly = Yearly(np.array([3.0, 0.0, 7.0]), hours_a_year=50.0, mw=20.0)
    cost = yearly.usd_per_mw(np.array([300.0, 0.0, 500.0]))
    assert cost.value == pytest.approx(800.0 / 10.0 * 50.0 / 20.0)
    assert cost.low == pytest.approx(500.0 / 7.0 * 2.5) and cost.high == pytest.approx(250.0)
    assert np.isnan(Yearly(np.array([3.0]), 50.0, 0.0).usd_per_mw(np.array([0.0])).value)


def test_shapley_values_by_hand() -> None:
    """Either lever alone takes 6 or 2 of 10 away, both together 9: half of what each adds first and last."""
    losses = {(): 10.0, ("a",): 4.0, ("b",): 8.0, ("a", "b"): 1.0}
    values = lever_values({frozenset(some): np.array([usd]) for some, usd in losses.items()}, ("a", "b"))
    assert values["a"] == pytest.approx((6.0 + 7.0) / 2) and values["b"] == pytest.approx((2.0 + 3.0) / 2)


# Promises of the grid -----------------------------------------------------------------------------------------------


def test_the_firm_level_changes_neither_calls_nor_last_resorts() -> None:
    options = command.FlexibilityOptions(scenario="flexible_campus", seeds=["0-2"])
    contract = Contract.of(run.InstancesBySeed(options), options.seeds, None)
    assert contract.max_mw == 100.0 and contract.levers() == tuple(LEVERS)
    firm, some, told = contract.at(1.0), contract.at(0.4), contract.at(0.4, notice_h=4.0)
    for a, b, c in zip(firm, some, told, strict=True):
        assert (a.knowledge.call_depth == b.knowledge.call_depth).all()
        assert (a.knowledge.call_known_from != c.knowledge.call_known_from).any()
        same = ("arrivals_gpuh", "buy_usd_per_mwh", "renewable_available_mw", "generator_open", "job_open")
        assert all((getattr(a.exogenous, name) == getattr(b.exogenous, name)).all() for name in same)
        assert all(
            (getattr(b.exogenous, name) == getattr(c.exogenous, name)).all() for name in b.exogenous.names()
        )
        for name in ("shed_usd_per_mwh", "gpu_short_usd_per_gpuh"):
            assert (getattr(a.params, name) == getattr(b.params, name)).all()
        called = b.knowledge.call_depth[:, 0] > 0.0
        assert (b.exogenous.import_limit_mw[called, 0] <= 40.0).all()
        assert (a.exogenous.import_limit_mw == np.where(called[:, None] & (np.arange(3) == 0), 100.0,
                                                         b.exogenous.import_limit_mw)).all()  # fmt: skip


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three firm levels, three columns, a policy with two notices, and the Shapley values of five levers."""
    out = tmp_path_factory.mktemp("grid") / "out"
    words = ["--seeds", "0", "--horizon-h", "72", "--firm-shares", "1", "0.5", "0.4", "--levers", "none"]
    words += ["routing", "all", "--policies", "greedy", "--notice", "0", "4", "--shapley", "0.4"]
    assert command.main([*CAMPUS, *words, "--run-dir", str(out)]) == 0
    return out


def test_the_cost_rises_as_the_firm_share_falls(grid: Path) -> None:
    for column in ("cost_usd_per_mw_year", "break_even_usd_per_mw_year"):
        found = costs(grid, column)
        for label in ("none", "routing", "all"):
            assert 0.0 <= found[0.5, label] < found[0.4, label], (column, label)
        assert found[0.4, "all"] < found[0.4, "routing"] < found[0.4, "none"]
    assert {label for _, label in costs(grid)} == {
        "none", "routing", "all", "greedy, notice 0 h", "greedy, notice 4 h"
    }  # fmt: skip


def test_more_levers_never_earn_less(grid: Path) -> None:
    """Of the benefit that is a theorem; of the cost, a difference of two, it is not."""
    import json

    rows = [json.loads(path.read_text())["row"] for path in (grid / "points").iterdir()]
    benefit = {(row["firm_share"], frozenset(row["label"].split("+")) - {"none"}): row["benefit_usd"]
               for row in rows if not row["label"].startswith("greedy")}  # fmt: skip
    for share in (1.0, 0.4):
        for some in coalitions(tuple(LEVERS)):
            for more in LEVERS:
                assert benefit[share, some | {more}] >= benefit[share, some] - 1e-3, (share, some, more)
    for some in coalitions(tuple(LEVERS)):
        assert benefit[1.0, some] >= benefit[0.4, some] - 1e-3


def test_shapley_values_sum_to_what_all_levers_take_away(grid: Path) -> None:
    rows, found = rows_of(grid / "shapley.csv"), costs(grid)
    assert [row["lever"] for row in rows] == list(LEVERS)
    total = sum(float(row["usd_per_mw_year"]) for row in rows)
    assert total == pytest.approx(found[0.4, "none"] - found[0.4, "all"], rel=1e-9)
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1.0)
    assert (grid / "flexibility.png").read_bytes().startswith(b"\x89PNG")
    record = read_run(grid, "flexibility")
    assert record["finished"] and record["site"] == "texas" and len(record["called_h"]) == 1


# Runs ---------------------------------------------------------------------------------------------------------------


def test_a_killed_run_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*CAMPUS, "--seeds", "0", "--horizon-h", "48", "--firm-shares", "0.4", "--levers", "none", "all"]
    words += ["--run-dir", str(tmp_path / "killed")]
    done: list[str] = []

    def interrupted(batch: Sequence[cells.CellTask]) -> Iterator[dict[str, Any]]:
        for task in batch:
            if len(done) == 2:
                raise KeyboardInterrupt
            done.append(task.name)
            yield from cells.compute([task])

    with monkeypatch.context() as patch:
        patch.setattr(run, "compute", interrupted)
        assert command.main(words) == INTERRUPTED
    assert "finished cells are kept; go on with --run-dir" in capsys.readouterr().err
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed" / "points").iterdir()}
    assert len(kept) == 2 and not (tmp_path / "killed" / "flexibility.csv").exists()
    assert command.main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list((tmp_path / "killed" / "points").iterdir())) == 4
    assert len(rows_of(tmp_path / "killed" / "flexibility.csv")) == 2


def test_episodes_without_a_call_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls = {
        "per_week": 1,
        "probability": 0.5,
        "start_h": [12.0, 12.0],
        "duration_h": [3.0, 3.0],
        "hours_a_year": 60.0,
    }
    path = write_campus(tmp_path, {"hard": True, "calls": calls})
    words = ["--scenario", str(path), "--firm-shares", "0.7", "--jobs", "1", "--run-dir"]
    assert command.main([*words, str(tmp_path / "some"), "--seeds", "0-7"]) == 0
    printed = capsys.readouterr().out
    (row,) = rows_of(tmp_path / "some" / "flexibility.csv")
    called = float(row["called_h"]) / CALL_H
    assert 0 < called < 8 and f"{8 - called:g} episode(s) without a call are not played" in printed
    # Every called hour costs the same, so resampling episodes changes nothing: losses stand beside their hours.
    for end in ("", "_low", "_high"):
        cost_usd = float(row[f"cost_usd_per_mw_year{end}"])
        assert cost_usd == pytest.approx(90.0 * KEPT / CALL_H * 60.0 / 30.0, rel=1e-6)
    assert len(list((tmp_path / "some" / "points").iterdir())) == 2 * called

    quiet = next(seed for seed in range(8) if not list((tmp_path / "some" / "points").glob(f"seed{seed}_*")))
    assert command.main([*words, str(tmp_path / "none"), "--seeds", str(quiet)]) == BAD_INPUT
    assert "is called in no hour of 1 episode(s); take more of them" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scenario", "two_sites"], "scenario two_sites: no site has a line of kind connection"),
        ([*CAMPUS, "--firm-shares", "0"], "--firm-shares 0: must be"),
        ([*CAMPUS, "--firm-shares", "1.2"], "--firm-shares 1.2: must be"),
        ([*CAMPUS, "--shapley", "0"], "--shapley 0: must be"),
        ([*CAMPUS, "--levers", "batery"], "--levers 'batery': did you mean 'battery'?"),
        ([*CAMPUS, "--levers", "all", "waiting+routing+battery+generator+modes"], "--levers: given twice"),
        ([*CAMPUS, "--site", "california"], "has no line of kind connection; those that have: texas"),
        ([*CAMPUS, "--site", "nowhere"], "--site 'nowhere': unknown"),
        ([*CAMPUS, "--notice", "4"], "--notice: matters to policies alone"),
        ([*CAMPUS, "--policies", "greedy", "--notice", "900"], "calls.notice_h"),
        ([*CAMPUS, "--policies", "milp"], "policy milp: the optimum with all levers is there anyway"),
        ([*CAMPUS, "--shares", "1"], "--shares: does not go with --scenario"),
        (["--headroom", "x.csv", "--shapley", "0.4"], "--shapley: does not go with --headroom"),
        (
            ["--headroom", "x.csv", *CAMPUS],
            "give --scenario NAME for the cost of a contract, or --headroom FILE",
        ),
        ([], "give --scenario NAME for the cost of a contract, or --headroom FILE"),
    ],
)
def test_bad_options(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.main(words) == BAD_INPUT
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_lever_that_the_scenario_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--scenario", str(write_campus(tmp_path, {"hard": True})), "--levers", "battery"]
    assert command.main(words) == BAD_INPUT
    assert "the scenario has no lever 'battery'; it has: none" in capsys.readouterr().err


def test_which_connection_is_studied() -> None:
    def line_of(lines: dict[str, list[str]], site: str | None) -> str:
        data = small_scenario.SMALL["sites"]
        connection = {"kind": "connection", "mw": 0.4, "hard": True, "calls": small_scenario.CALLS}
        sites = [
            one | {"lines": [connection | {"name": name} for name in lines[one["name"]]]} for one in data
        ]
        episodes = SimpleNamespace(compiled=small_scenario.small(sites=sites))
        return find_line(episodes, site).spec.name  # type: ignore[arg-type]

    both = {"north": ["a"], "south": ["b"]}
    assert [line_of(both, site) for site in both] == ["a", "b"]
    assert line_of({"north": [], "south": ["b"]}, None) == "b"
    with pytest.raises(InputError, match="--site: must be one of those with a connection: north, south"):
        line_of(both, None)
    with pytest.raises(InputError, match=r"site north has several connections \(a, c\)"):
        line_of({"north": ["a", "c"], "south": []}, None)


def test_a_line_without_hours_a_year(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_campus(tmp_path, {"hard": True, "calls": {"start_h": [12.0, 12.0]}})
    assert command.main(["--scenario", str(path)]) == BAD_INPUT
    assert "has no calls.hours_a_year; give the called hours of a year" in capsys.readouterr().err


def test_calls_of_the_trace_file_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One call of 3 h in the nine days of the file: as many hours a year as that, and its own notice."""
    path = write_campus(tmp_path, {"hard": True, "calls": {"source": "traces"}})
    file = tmp_path / "flat.csv"
    header, *rows = file.read_text().splitlines()
    calls = [f"{row},{int(row[8:13] in ('05T17', '05T18', '05T19'))}" for row in rows]
    words = ["--scenario", str(path), "--seeds", "0", "--firm-shares", "0.7", "--jobs", "1", "--run-dir"]
    file.write_text("\n".join([f"{header},call_campus", *calls]))
    assert command.main([*words, str(tmp_path / "out")]) == 0
    (row,) = rows_of(tmp_path / "out" / "flexibility.csv")
    yearly_h = 8760.0 * CALL_H / (9 * 24)
    assert float(row["hours_a_year"]) == pytest.approx(yearly_h) and float(row["called_h"]) == CALL_H
    wanted_usd = 90.0 * KEPT / CALL_H * yearly_h / 30.0
    assert float(row["cost_usd_per_mw_year"]) == pytest.approx(wanted_usd, rel=1e-6)
    assert float(row["notice_h"]) == 0.0

    file.write_text("\n".join([f"{header},call_campus,notice_h_campus", *(f"{row},1" for row in calls)]))
    assert command.main([*words, str(tmp_path / "own")]) == 0
    (row,) = rows_of(tmp_path / "own" / "flexibility.csv")
    assert row["notice_h"] == "" and float(row["cost_usd_per_mw_year"]) == pytest.approx(wanted_usd, rel=1e-6)
    capsys.readouterr()
    assert command.main([*words, str(tmp_path / "n"), "--policies", "greedy", "--notice", "0"]) == BAD_INPUT
    assert "each call of 'campus' has its own in column notice_h_campus" in capsys.readouterr().err


@pytest.mark.ray
def test_a_ray_cluster_on_this_machine_finds_the_same(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'gridai-env[ray]'")
    words = [
        "--scenario",
        str(write_campus(tmp_path, {"hard": True})),
        "--seeds",
        "0",
        "--firm-shares",
        "0.7",
    ]
    found = []
    for name, how in (("here", ["--jobs", "1"]), ("cluster", ["--ray", "local", "--jobs", "2"])):
        assert command.main([*words, *how, "--run-dir", str(tmp_path / name)]) == 0
        found.append(costs(tmp_path / name))
    assert found[0] and found[0] == pytest.approx(found[1], rel=1e-9, nan_ok=True)
