"""The report on flexible load: contracts, a site against its line hour by hour, and runs of scripts.flexibility."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("plotly", reason="needs the extra report")

from gridai_env.scenario.load import load_scenario
from scripts import compare, flexibility
from scripts.report import __main__ as report
from scripts.report.data.numbers import number
from scripts.report.data.run_folders import RunFolder
from scripts.report.panels.contracts import contracts_panel
from tests.scripts.report.test_report import (
    Plots,
    browse,
    panels_of,
    rows_of,
    test_every_bound_path_finds_data,
)
from tests.support.report_samples import write_csv

TABLE = "milp_seed0.csv"
LINE = "virginia/response"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison with an event of demand response, and the cost of a connection on a coarse grid."""
    root = tmp_path_factory.mktemp("report") / "runs"
    words = ["--scenario", "demand_response", "--horizon-h", "72", "--seeds", "0", "--threads", "1"]
    words += ["--policies", "local_only", "milp", "--run-dir", str(root / "compare")]
    assert compare.main(words) == 0
    words = ["--scenario", "flexible_campus", "--seeds", "0", "--horizon-h", "72", "--jobs", "1"]
    words += ["--firm-shares", "1", "0.4", "0.1", "--levers", "none", "all", "--policies", "greedy"]
    words += ["--notice", "2", "--hours", "60", "178", "--run-dir", str(root / "flexibility")]
    assert flexibility.main(words) == 0
    header = "firm_share hours_a_year lever usd_per_mw_year usd_per_mw_year_low usd_per_mw_year_high share"
    values: list[list[Any]] = [
        [0.4, hours, lever, usd * hours, usd * hours - 60.0, usd * hours + 120.0, usd / 4.0]
        for hours in (60.0, 178.0)
        for lever, usd in (("modes", 1.0), ("battery", 3.0))
    ]
    write_csv(root / "flexibility" / "shapley.csv", header, values)
    return root


@pytest.fixture(scope="module")
def html(runs: Path) -> str:
    assert report.main([str(runs)]) == 0
    return (runs / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def lines(html: str) -> dict[str, Any]:
    return panels_of(html)["flexible-demand_response-lines"]


def test_the_page_is_whole(runs: Path, html: str) -> None:
    test_every_bound_path_finds_data(html)
    dom, console = browse(runs / "report.html")
    plots = Plots(dom)
    assert console == [] and plots.body["data-errors"] == "[]"
    assert plots.body["data-figures"] == plots.body["data-drawn"]
    assert all(plots.marks)
    for words in (
        "called",
        "import within the limit",
        "import above the limit",
        "limit in force",
        "baseline",
    ):
        assert any(words in text for text in plots.text), words


def column(runs: Path, table: str, name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in rows_of(runs / "compare" / "tables" / table)])


@pytest.mark.parametrize("policy", ["local_only", "milp"])
def test_a_line_is_the_step_table(runs: Path, lines: dict[str, Any], policy: str) -> None:
    """Import is split at the limit; the baseline stands in called steps alone, each drawn to its end."""
    table, store = f"{policy}_seed0.csv", lines["store"]

    def drawn(name: str) -> np.ndarray:
        values = store[f"{policy}|0|{name}|{LINE}"]
        return np.array([np.nan if value is None else value for value in values], dtype=float)

    import_mw, limit_mw = column(runs, table, "import_mw/virginia"), column(runs, table, f"line_mw/{LINE}")
    excess_mw = column(runs, table, f"line_excess_mw/{LINE}")
    called = column(runs, table, f"called_share/{LINE}") > 0.0
    np.testing.assert_allclose(drawn("within")[:-1] + drawn("excess")[:-1], import_mw, rtol=1e-3, atol=0.02)
    np.testing.assert_allclose(drawn("within")[:-1], np.minimum(import_mw, limit_mw), rtol=1e-3, atol=0.02)
    np.testing.assert_allclose(drawn("limit")[:-1], limit_mw, rtol=1e-3)
    if policy == "local_only":
        assert excess_mw.max() > 1.0

    baseline = drawn("baseline")
    np.testing.assert_allclose(baseline[:-1][called], limit_mw[called] + 15.0, rtol=1e-3)
    last = int(np.flatnonzero(called)[-1])
    assert baseline[last + 1] == baseline[last]
    assert np.isfinite(baseline).sum() == called.sum() + 1

    saved_mw = column(runs, table, "saving_mw/virginia") * column(runs, table, "pue/virginia")
    load_mw = column(runs, table, "facility_mw/virginia")
    np.testing.assert_allclose(drawn("full")[:-1] - drawn("load")[:-1], saved_mw, rtol=1e-2, atol=0.02)
    np.testing.assert_allclose(drawn("load")[:-1], load_mw, rtol=1e-3)


def test_the_hours_around_a_call_are_shown_first(runs: Path, html: str, lines: dict[str, Any]) -> None:
    store = lines["store"]
    called = np.flatnonzero(column(runs, TABLE, f"called_share/{LINE}") > 0.0)
    half_hour_ms, start_ms = store["dx"], store["start|0"]
    assert half_hour_ms == 1_800_000
    begin, end = store[f"1|0|{LINE}"]
    assert begin == start_ms + half_hour_ms * max(int(called[0]) - 24, 0)
    assert end == start_ms + half_hour_ms * min(int(called[-1]) + 1 + 48, 144)
    assert store[f"all|0|{LINE}"] == [start_ms, start_ms + 144 * half_hour_ms]
    # Contracts that nobody calls: the whole episode in both.
    assert store["1|0|virginia/clean"] == store["all|0|virginia/clean"]
    shaded = np.array(store[f"0|called|{LINE}"][:-1]) > 0.0
    assert np.flatnonzero(shaded).tolist() == called.tolist()
    assert '<option value="1" selected>around call 1</option>' in html


def rows_of_panel(scenario: dict[str, Any]) -> list[list[str]]:
    panel = contracts_panel(RunFolder(Path(), {"config": {"scenario_resolved": scenario}}))
    assert panel is not None and panel.table is not None
    return [list(row) for row in panel.table.rows]


def test_contracts_are_told() -> None:
    response, clean = rows_of_panel(load_scenario("demand_response").model_dump(mode="json"))
    assert response == [
        "virginia",
        "response (demand response)",
        "mean of the last 5 weekdays less 15 MW, in an event",
        "1,150 USD/MWh",
        "5 h each, at most 30 h a year, notice 0.5 h",
        "what is cut, at the price of import, 333.4 USD per MW and day promised",
    ]
    assert clean[2:] == ["output of 60 MW of wind", "counted, free", "—", "—"]
    connection, clean = rows_of_panel(load_scenario("flexible_campus").model_dump(mode="json"))
    assert connection[2:4] == ["40 MW while called, else 100 MW", "impossible"]
    assert connection[4] == "3 to 8 h each, at most 178 h a year, notice 0 h"
    assert clean[2:4] == ["output of 120 MW of wind and 80 MW of sun", "5 USD/MWh"]


def test_a_firm_service_level_is_the_limit_itself() -> None:
    scenario = load_scenario("demand_response").model_dump(mode="json")
    for site in scenario["sites"]:
        for line in site["lines"]:
            if line["kind"] == "demand_response":
                line |= {"baseline": None, "mw": 40.5}
    assert rows_of_panel(scenario)[0][2] == "40.5 MW, in an event"


def test_without_lines_there_are_no_contracts() -> None:
    scenario = load_scenario("two_sites").model_dump(mode="json")
    assert contracts_panel(RunFolder(Path(), {"config": {"scenario_resolved": scenario}})) is None


# Runs of scripts.flexibility -----------------------------------------------------------------------------------------


def test_the_cost_of_a_connection_is_that_of_its_table(runs: Path, html: str) -> None:
    store = panels_of(html)["non_firm-flexible_campus-non_firm_cost"]["store"]
    rows = [
        row for row in rows_of(runs / "flexibility" / "flexibility.csv") if row["hours_a_year"] == "178.0"
    ]
    for i, label in enumerate(("none", "all", "greedy, notice 2 h")):
        own = sorted((row for row in rows if row["label"] == label), key=lambda row: float(row["firm_share"]))
        assert len(own) == 3
        assert store[f"178.0|{i}|x"] == pytest.approx([10.0, 40.0, 100.0])
        for column in ("cost_usd_per_mw_year", "break_even_usd_per_mw_year"):
            drawn = store[f"178.0|{i}|{column}"]
            for value, row in zip(drawn, own, strict=True):
                known = float(row[column]) / 1e3 if row[column] else None
                assert value == (known if known is None else pytest.approx(known, rel=1e-4, abs=1e-9))
    needed = next(row["feasible_from_mw"] for row in rows if row["feasible_from_mw"])
    assert f">from {number(float(needed))} MW</td>" in html
    assert "Greedy, notice 2 h" in html
    assert "called 8 h in 1 episode;" in html


def test_what_a_low_firm_level_costs_stands_first(runs: Path, html: str) -> None:
    """The lowest level that is feasible: with all levers 10 %, without any 40 %."""
    rows = rows_of(runs / "flexibility" / "flexibility.csv")
    for share, label, words in (("0.4", "none", "without levers"), ("0.1", "all", "with all levers")):
        cost = next(
            row["cost_usd_per_mw_year"] for row in rows if (row["firm_share"], row["label"]) == (share, label)
        )
        title = f"{100.0 * float(share):.0f} % firm costs, {words}"
        assert f"<dt>{title}</dt>" in html
        tile = html.split(f"<dt>{title}</dt>")[1].split("</div>")[0]
        assert f">{number(float(cost))} " in tile


def test_levers_are_drawn_the_largest_on_top(html: str) -> None:
    store = panels_of(html)["non_firm-flexible_campus-levers"]["store"]
    assert store["178.0|y"] == ["power modes", "battery"]  # from below
    assert store["178.0|x"] == pytest.approx([0.178, 0.534])
    assert store["178.0|plus"] == pytest.approx([0.12, 0.12])
    assert store["178.0|minus"] == pytest.approx([0.06, 0.06])
    assert "Shapley values at 40 % firm" in html


def test_a_damaged_grid_is_named(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs / "flexibility", tmp_path / "grid")
    file = tmp_path / "grid" / "flexibility.csv"
    file.write_text(file.read_text(encoding="utf-8").replace("firm_mw", "x"), encoding="utf-8")
    assert report.main([str(tmp_path / "grid")]) == 2
    assert "column 'firm_mw' is missing" in capsys.readouterr().err


def test_a_connection_without_a_study_is_asked_for(runs: Path, tmp_path: Path) -> None:
    """Where the scenario has one, and nowhere else."""
    words = "python -m scripts.flexibility --scenario"
    assert report.main([str(runs / "compare"), "--out", str(tmp_path / "one.html")]) == 0
    assert words not in (tmp_path / "one.html").read_text(encoding="utf-8")
    out = tmp_path / "campus"
    words_of_run = ["--scenario", "flexible_campus", "--horizon-h", "24", "--seeds", "0", "--threads", "1"]
    assert compare.main([*words_of_run, "--policies", "local_only", "--run-dir", str(out)]) == 0
    assert report.main([str(out)]) == 0
    assert f"{words} flexible_campus" in (out / "report.html").read_text(encoding="utf-8")
