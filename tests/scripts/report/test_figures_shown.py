"""What the report says of small, degenerate and frozen figures; evaluations are shown."""

import math
from pathlib import Path

import numpy as np
import pytest

from scripts.report import __main__ as report
from scripts.report.data.numbers import small_percent
from scripts.report.data.run_folders import RunFolder
from scripts.report.head import front_tiles, frontier_tiles
from scripts.report.panels.carbon import volume_panel
from scripts.report.panels.comparison.episodes import EpisodeTables, time_title
from scripts.report.panels.comparison.shadow_prices import duals_panel
from scripts.report.panels.latency.axes import Axis
from scripts.report.panels.latency.returns import returns_panel
from tests.support.report_samples import sample_evaluate, write_csv


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0 %"), (2.4e-35, "0 %"), (-1e-16, "0 %"), (1e-9, "< 0.01 %"), (5e-5, "< 0.01 %"), (2e-4, "0.02 %"),
     (0.0123, "1.2 %"), (math.nan, "–")],
)  # fmt: skip
def test_small_shares(share: float, text: str) -> None:
    assert small_percent(share) == text


def test_an_evaluation_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample_evaluate(tmp_path / "evaluate")
    assert report.main([str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "left out" not in capsys.readouterr().err and "is left out" not in page
    for words in (
        "Greedy gets, frozen set test",
        "83.7 [79.2, 86.7] %",
        "−20.2 %",
        "−1.2 %",
        "3.89 %",
        "40 episodes",
    ):
        assert words in page, words


def folder_with(tmp_path: Path, kind: str, name: str, header: str, rows: list[list[object]]) -> RunFolder:
    write_csv(tmp_path / name, header, rows)
    return RunFolder(tmp_path, {"kind": kind})


def test_the_return_of_a_narrow_step_is_an_amount(tmp_path: Path) -> None:
    rows: list[list[object]] = [
        ["class:chat", "cost", 240.0, 241.4, 77_000.0],  # 1,078 USD, however steep
        ["class:chat", "cost", 241.4, 441.4, 1000.0],  # 2,000 USD
    ]
    run = folder_with(tmp_path, "frontier", "returns.csv", "axis quantity from_ms to_ms arc_per_100ms", rows)
    (tile,) = frontier_tiles(run)
    assert (tile.value, tile.unit) == ("2,000", "USD")
    assert "441 instead of 241 ms" in tile.note


def test_emissions_fall_from_those_of_the_cheapest_plan(tmp_path: Path) -> None:
    rows: list[list[object]] = [
        [0, "epsilon", 100.0, 80.0],  # the cheapest
        [0, "epsilon", 120.0, 60.0],  # the cleanest
        [0, "epsilon", 130.0, 200.0],  # dearer and dirtier: no base
    ]
    run = folder_with(tmp_path, "front", "front.csv", "seed method cost_usd emissions_kg", rows)
    (tile,) = front_tiles(run)
    assert tile.value == "25.0" and "costs 20 USD" in tile.note


def test_ratios_of_rounding_are_no_figures(tmp_path: Path) -> None:
    header = "seed set hypervolume reference_cost_usd reference_emissions_kg share_of_epsilon"
    rows: list[list[object]] = [
        [0, "epsilon", 1e-21, 100.0, 50.0, 1.0],
        [0, "price", 3e-21, 100.0, 50.0, 3.0],
    ]
    run = folder_with(tmp_path, "front", "hypervolume.csv", header, rows)
    table = volume_panel(run.table("hypervolume.csv")).table
    assert table is not None and [row[1:] for row in table.rows] == [("0", "–", "–")] * 2


def test_the_time_axis_says_local_time() -> None:
    scenario = {"dt_h": 1.0, "sites": [], "regions": [{"home": "a", "timezone": "America/Los_Angeles"}]}
    run = RunFolder(Path(), {"kind": "compare", "config": {"scenario_resolved": scenario}})
    episodes = EpisodeTables(run, (), (0,), {})
    start = np.datetime64("2023-07-01T08:00", "ms").astype(np.int64)
    episodes.__dict__["clock"] = {"start|0": float(start)}
    assert episodes.axis_title(0, "a") == "UTC (local: UTC−07:00, first step 01:00)"
    assert episodes.axis_title(0, "b") == "UTC"
    assert episodes.axis_title(0) == episodes.axis_title(0, "a")
    start_ms = float(start.astype(np.int64))
    zones = ["Asia/Kolkata", "America/Los_Angeles", "Europe/Berlin"]
    assert time_title(zones, start_ms) == "UTC (local: UTC−07:00 to +05:30)"


def test_shadow_prices_leave_out_the_solvers_noise(tmp_path: Path) -> None:
    header = "time_utc capacity_usd_per_gpuh/a export_limit_usd_per_mwh/a energy_usd_per_mwh/a"
    hours = [["2023-07-01T08:00:00Z", 0.25, 3e-8, 41.0], ["2023-07-01T09:00:00Z", -4e-7, -9e-7, 43.0]]
    regions = [{"home": "a", "timezone": "America/Los_Angeles"}]
    write_csv(tmp_path / "shadow_prices_seed0.csv", header, hours)
    panel = duals_panel(
        RunFolder(tmp_path, {"config": {"scenario_resolved": {"sites": [], "regions": regions}}})
    )
    assert panel is not None
    assert [value for value, _ in panel.choices[0].options] == ["capacity_usd_per_gpuh", "energy_usd_per_mwh"]
    assert panel.store["0|capacity_usd_per_gpuh"] == [[0.25, 0]]
    assert panel.store["0|title"] == "UTC (local: UTC−07:00, first step 01:00)"


def test_returns_are_drawn_as_falls_and_rates_need_a_wide_step(tmp_path: Path) -> None:
    header = "axis quantity from_ms to_ms arc_per_ms arc_per_ms_low arc_per_ms_high"
    rows: list[list[object]] = [
        ["class:chat", "cost", 240.0, 241.0, 770.0, 700.0, 800.0],
        ["class:chat", "cost", 241.0, 441.0, 10.0, 8.0, 12.0],
    ]
    run = folder_with(tmp_path, "frontier", "returns.csv", header, rows)
    axis = Axis("class:chat", (0, 1, 2), np.array([240.0, 241.0, 441.0]), ("0",))
    panel = returns_panel(run.table("returns.csv"), [axis])
    assert panel.store["class:chat|cost|y"] == [770, 2000]
    assert panel.store["class:chat|cost|plus"] == [30, 400]
    assert panel.table is not None
    assert [row[3:] for row in panel.table.rows] == [
        ("770 [700, 800] USD", "–"),
        ("2,000 [1,600, 2,400] USD", "1,000 [800, 1,200] USD per 100 ms"),
    ]


def test_returns_on_the_scale_are_per_cent(tmp_path: Path) -> None:
    header = "axis quantity from_scale to_scale arc_per_percent arc_per_percent_low arc_per_percent_high"
    run = folder_with(
        tmp_path, "frontier", "returns.csv", header, [["scale", "carbon", 0.5, 0.6, 3.0, 3.0, 3.0]]
    )
    panel = returns_panel(run.table("returns.csv"), [Axis("scale", (0, 1), np.array([0.5, 0.6]), ("0",))])
    assert panel.store["scale|carbon|y"] == [30] and panel.table is not None
    assert panel.table.rows[0][3:] == ("30 [30, 30] kg", "3 [3, 3] kg per 1 %")
