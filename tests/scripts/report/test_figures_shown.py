"""What the report says of small, degenerate and frozen figures; evaluations are shown."""

import math
from pathlib import Path

import numpy as np
import pytest

from scripts.report import __main__ as report
from scripts.report.data.numbers import small_percent
from scripts.report.data.run_folders import RunFolder
from scripts.report.head import tiles_of
from scripts.report.panels.carbon import volume_panel
from scripts.report.panels.comparison.episodes import EpisodeTables
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
    (tile,) = tiles_of(run)
    assert (tile.value, tile.unit) == ("2,000", "USD")
    assert "441 instead of 241 ms" in tile.note


def test_emissions_fall_from_those_of_the_cheapest_plan(tmp_path: Path) -> None:
    rows: list[list[object]] = [
        [0, "epsilon", 100.0, 80.0],  # the cheapest
        [0, "epsilon", 120.0, 60.0],  # the cleanest
        [0, "epsilon", 130.0, 200.0],  # dearer and dirtier: no base
    ]
    run = folder_with(tmp_path, "front", "front.csv", "seed method cost_usd emissions_kg", rows)
    (tile,) = tiles_of(run)
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
