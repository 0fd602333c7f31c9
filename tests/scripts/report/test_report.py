"""The report: what it says is what the runs hold, it needs no network, and every plot draws in a browser."""

import csv
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("plotly", reason="needs the extra report")

from gridai_env.version import environment_version
from scripts import compare, frontier
from scripts import pareto as front
from scripts.report import __main__ as report
from scripts.report.data.names import policy_colour, policy_label, tidy
from scripts.report.data.numbers import number, seed_text
from scripts.report.data.parts import Panel
from scripts.report.data.run_folders import read_table
from scripts.report.page.html import panel_json
from scripts.report.panels.comparison.ladder import gain_panel, term_label
from scripts.runs import command
from tests.support.report_samples import HOSTILE, sample_reproduce, sample_train, write_csv

SCENARIO = ["--scenario", "two_sites", "--horizon-h", "6", "--threads", "1"]
POLICIES = ["local_only", "greedy", "milp"]
NEED, BROWSER = "GRIDAI_NEED_BROWSER", "GRIDAI_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of every kind."""
    root = tmp_path_factory.mktemp("report") / "runs"
    words = [*SCENARIO, "--policies", *POLICIES, "--seeds", "3", "5", "--run-dir", str(root / "compare")]
    assert compare.main(words) == 0
    words = [
        *SCENARIO,
        "--axes",
        "scale",
        "--points",
        "3",
        "--seeds",
        "3",
        "--jobs",
        "1",
        "--policies",
        "greedy",
    ]
    assert frontier.main([*words, "--run-dir", str(root / "frontier")]) == 0
    words = [
        *SCENARIO,
        "--points",
        "4",
        "--prices",
        "0",
        "100",
        "--policies",
        "greedy",
        "--seeds",
        "3",
        "--jobs",
        "1",
    ]
    assert front.main([*words, "--run-dir", str(root / "front")]) == 0
    sample_reproduce(root / "reproduce")
    return root


@pytest.fixture(scope="module")
def html(runs: Path) -> str:
    assert report.main([str(runs)]) == 0
    return (runs / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def own(runs: Path, tmp_path: Path) -> Path:
    """A copy of the runs that a test may damage."""
    shutil.copytree(
        runs, tmp_path / "runs", ignore=shutil.ignore_patterns("tensorboard", "figures", "*.html")
    )
    return tmp_path / "runs"


def panels_of(html: str) -> dict[str, dict[str, Any]]:
    """Plots and data of each panel, by its anchor."""
    form = r'<section class="panel" id="([^"]+)">(?:(?!</section>).)*?<script type="application/json">(.*?)</script>'
    return {name: json.loads(text) for name, text in re.findall(form, html, flags=re.DOTALL)}


def first_state(html: str, panel: str) -> dict[str, str]:
    """What the selectors of a panel show at first."""
    block = html.split(f'<section class="panel" id="{panel}">')[1].split("</section>")[0]
    found = {}
    for name, options in re.findall(r'<select name="([^"]+)"[^>]*>(.*?)</select>', block, flags=re.DOTALL):
        found[name] = unescape(re.findall(r'<option value="([^"]*)" selected>', options)[0])
    return found


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# What it says -----------------------------------------------------------------------------------------------


def test_gain_is_that_of_the_summary(runs: Path, html: str) -> None:
    bar = panels_of(html)["ladder-gain"]["plots"][0]["data"][0]
    rows = rows_of(runs / "compare" / "summary.csv")
    for policy, label in (("local_only", "Local-Only"), ("greedy", "Greedy"), ("milp", "Optimum")):
        own = [row for row in rows if row["policy"] == policy]
        gained = sum(float(row["score"]) - float(row["local_score"]) for row in own)
        room = sum(float(row["bound_score"]) - float(row["local_score"]) for row in own)
        assert bar["x"][bar["y"].index(label)] == pytest.approx(100.0 * gained / room, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("objective", "shown"), [("benefit", "benefit 10 .*USD"), ("carbon", "emissions 4,?000 .*kg")]
)
def test_gains_show_what_was_gained(tmp_path: Path, objective: str, shown: str) -> None:
    row = dict.fromkeys(("bill_usd", "local_score", "solver_gap", "reference", "dropped_gpuh"), 1.0)
    row |= {
        "policy": "greedy",
        "objective": objective,
        "benefit_usd": 10.0,
        "emissions_kg": 4000.0,
        "score": 2.0,
    }
    row |= {"bound_score": 3.0, "path_latency_p95_ms": 1.0, "bound_is_safe": 0}
    rows = [[*row.values(), seed] for seed in (1, 2)]
    write_csv(tmp_path / "summary.csv", " ".join([*row, "seed"]), rows)
    panel = gain_panel(read_table(tmp_path / "summary.csv"))
    (told,) = panel.plots[0].figure.data[0].customdata
    assert re.search(f"<br>{shown}<br>2 episodes", told)
    assert "of its bound, to solver tolerance." in panel.notes[0]


def test_terms_sum_to_the_benefit(runs: Path, html: str) -> None:
    store = panels_of(html)["ladder-terms"]["store"]
    rows = [row for row in rows_of(runs / "compare" / "summary.csv") if row["policy"] == "milp"]
    mean = sum(float(row["benefit_usd"]) for row in rows) / len(rows)
    last = sum(values[-1] for key, values in store.items() if key.startswith("all|") and key != "all|title")
    assert last == pytest.approx(mean / 1000.0, abs=2e-3)  # terms below half a dollar are not drawn


def test_flows_are_the_moved_work(runs: Path, html: str) -> None:
    panel = panels_of(html)["places-map"]
    moved = 0.0
    for seed in (3, 5):
        table = rows_of(runs / "compare" / "tables" / f"milp_seed{seed}.csv")
        moved += sum(float(row["routed_gpuh/west to texas"]) for row in table) / len(table) * 24.0 / 2
    texts = [
        value for key, value in panel["store"].items() if key.startswith("milp|") and key.endswith("|text")
    ]
    assert any(f"west → texas</b><br>{number(moved)} GPU-h per day" in text for text in texts)


def test_routed_work_is_the_served_work(runs: Path) -> None:
    for row in rows_of(runs / "compare" / "tables" / "greedy_seed3.csv"):
        routed = [float(value) for name, value in row.items() if name.startswith("routed_gpuh/")]
        served = [float(value) for name, value in row.items() if name.startswith("served_gpuh/")]
        assert sum(routed) == pytest.approx(sum(served), rel=1e-9)


def test_schedule_is_the_step_table(runs: Path, html: str) -> None:
    store = panels_of(html)["hours-schedule"]["store"]
    table = rows_of(runs / "compare" / "tables" / "greedy_seed5.csv")
    imported = [float(row["import_mw/texas"]) for row in table]
    assert store["greedy|5|import_mw|texas"] == pytest.approx([*imported, imported[-1]], rel=1e-3, abs=1e-9)
    prices = [float(row["buy_usd_per_mwh/california"]) for row in table]
    assert store["5|buy_usd_per_mwh|california"][:-1] == pytest.approx(prices, rel=1e-3)


def test_frontier_is_the_csv(runs: Path, html: str) -> None:
    store = panels_of(html)["frontier-curves"]["store"]
    rows = [row for row in rows_of(runs / "frontier" / "frontier.csv") if row["objective"] == "cost"]
    costs = [float(row["value"]) / 1000.0 for row in rows]
    assert store["scale|total|cost|mean"] == pytest.approx(costs, rel=1e-4)
    assert store["scale|saved|cost|mean"] == pytest.approx([costs[0] - cost for cost in costs], abs=1e-4)
    assert store["scale|x"] == pytest.approx([float(row["scale"]) for row in rows], rel=1e-4)


def test_no_point_of_the_front_lies_below_its_line(own: Path) -> None:
    """Also where a price beats the chord between two caps: a corner of a bent front, and one that caps miss."""
    header = "seed method label carbon_price_usd_per_t cost_usd emissions_kg slope_usd_per_t meets_floor"
    caps = [(100.0, 5.0), (60.0, 30.0), (55.0, 62.0), (40.0, 100.0)]  # USD, kg; the third is beaten
    prices = [(50.0, 35.0), (45.0, 60.0), (40.0, 110.0)]
    rows: list[list[Any]] = [[3, "epsilon", f"cap {i}", "", *place, 7.25, 1] for i, place in enumerate(caps)]
    rows += [[3, "price", f"{i} USD/t", i, *place, i, 1] for i, place in enumerate(prices)]
    rows += [[3, "price", "9 USD/t", 9, "", "", 9, 1], [3, "policy", "greedy", "", 20.0, 20.0, "", 0]]
    write_csv(own / "front" / "front.csv", header, rows)
    assert report.main([str(own / "front")]) == 0
    text = (own / "front" / "report.html").read_text(encoding="utf-8")
    store = panels_of(text)["front-pareto"]["store"]
    x, y = store["3|chords|x"], store["3|chords|y"]
    best = [(100.0, 5.0), (60.0, 30.0), (50.0, 35.0), (45.0, 60.0), (40.0, 100.0)]
    assert list(zip(y, x, strict=True)) == [pytest.approx((usd / 1e3, kg / 1e3)) for usd, kg in best]
    for usd, kg in caps + prices:
        assert usd / 1e3 >= np.interp(kg / 1e3, x, y) - 1e-12
    assert "last tonne avoided costs 7.25 USD" in store["3|epsilon|text"][0]
    assert "chords" in text and "price of the next tonne" not in text


def test_the_learning_curve_is_that_of_the_training(tmp_path: Path) -> None:
    """Gain over minutes, the imitation's included, and over the algorithm's steps."""
    sample_train(tmp_path / "train")
    assert report.main([str(tmp_path)]) == 0
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<title>gridai-env: two sites</title>" in text
    minutes, steps = (plot["data"][0] for plot in panels_of(text)["learning-learning"]["plots"])
    assert minutes["x"] == [1, 2, 3] and steps["x"] == [0, 600, 1200]
    assert minutes["y"] == steps["y"] == [50, 80, 90]
    assert "After each stage: start \N{MINUS SIGN}5.0 %, imitation 50.0 %, pathwise 90.0 %." in text


def test_a_training_without_a_gain_has_no_curve(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample_train(own / "train", watched=False)
    assert "no gain on validation episodes" in left_out(own, capsys)
    sample_train(tmp_path / "unfinished")
    (tmp_path / "unfinished" / "stages.json").write_text("{", encoding="utf-8")
    assert "stages.json: cannot be read" in refused([str(tmp_path / "unfinished")], capsys)


def test_sensitivities_stand_before_the_published_range(html: str) -> None:
    panel = panels_of(html)["reproduction-sensitivity"]
    store, (plot,) = panel["store"], panel["plots"]
    assert plot["binds"]["data.1.y"] == "{pair}|band|y" and plot["data"][1]["fill"] == "toself"
    assert sorted(set(store["0|band|y"])) == [-10.0, -8.0]
    assert min(store["0|band|x"]) < min(store["0|x"]) and max(store["0|band|x"]) > max(store["0|x"])
    assert "1|band|y" not in store  # no figure of it was published


def test_refused_work_has_one_name(html: str) -> None:
    store = panels_of(html)["reproduction-sensitivity"]["store"]
    assert store["1|yt"] == "refused work share [%]"
    assert (
        '<th scope="col">refused work, GPU-h</th>' in html and '<th scope="col">refused work, %</th>' in html
    )
    assert term_label("drop_penalty") == "penalty for refused work"


def test_curves_cope_with_points_without_a_plan(own: Path) -> None:
    """An episode without a plan at one point is in no mean; the gap is told; error bars stay finite."""
    path = own / "frontier" / "frontier.csv"
    rows = rows_of(path)
    second = [row | {"seed": "4"} for row in rows]
    lost = next(row for row in second if row["objective"] == "cost" and row["point"] == "1")
    lost |= {"value": "", "gap": "inf"}
    save(path, rows + second)
    played = rows_of(own / "frontier" / "policies.csv")
    for row in played:
        row["status"] = "played"
    blank = {"cost_usd": "", "benefit_usd": "", "emissions_kg": "", "rid_real": "", "status": "time_limit"}
    save(
        own / "frontier" / "policies.csv",
        played + [row | {"seed": "4"} | (blank if row["point"] == "2" else {}) for row in played],
    )
    returns = rows_of(own / "frontier" / "returns.csv")
    for row in returns:
        row.update({name: "inf" for name in row if name.endswith("_high")})
    save(own / "frontier" / "returns.csv", returns)
    assert report.main([str(own / "frontier")]) == 0
    text = (own / "frontier" / "report.html").read_text(encoding="utf-8")
    store = panels_of(text)["frontier-curves"]["store"]
    costs = [float(row["value"]) / 1000.0 for row in rows if row["objective"] == "cost"]
    assert store["scale|total|cost|mean"] == pytest.approx(costs, rel=1e-4)
    assert "least cost at 1 of 6 points, Greedy at 1 of 6 points" in text
    assert (
        store["scale|total|benefit|greedy"][2] is None and store["scale|total|benefit|greedy"][1] is not None
    )
    bars = panels_of(text)["frontier-returns"]["store"]
    assert all(abs(x) < 1e12 for key, values in bars.items() if key.endswith("|plus") for x in values)


def test_a_frontier_without_any_complete_episode_has_gaps(own: Path) -> None:
    path = own / "frontier" / "frontier.csv"
    rows = rows_of(path)
    for row in rows:
        if row["objective"] == "carbon" and row["point"] == "1":
            row["value"] = ""
    save(path, rows)
    assert report.main([str(own)]) == 0
    store = panels_of((own / "report.html").read_text(encoding="utf-8"))["frontier-curves"]["store"]
    for end in ("mean", "low", "high"):
        for view in ("total", "saved"):
            values = store[f"scale|{view}|carbon|{end}"]
            assert [value is None for value in values] == [False, True, False]


def save(path: Path, rows: list[dict[str, str]]) -> None:
    write_csv(path, " ".join(rows[0]), [list(row.values()) for row in rows])


def test_every_bound_path_finds_data(html: str) -> None:
    """At first, every plot has at least one trace with data, and every title that follows a selector has text."""
    for name, panel in panels_of(html).items():
        state = first_state(html, name)
        for plot in panel["plots"]:
            keys = {path: key.format_map(state) for path, key in plot["binds"].items()}
            for path, key in keys.items():
                if path.endswith("title.text"):
                    assert panel["store"][key], (name, path)
            filled = [panel["store"].get(key) for path, key in keys.items() if path.split(".")[-1] in "xyz"]
            assert any(filled) or not filled, name


def test_text_is_escaped(html: str) -> None:
    assert "<img" not in html.split("<script>")[0] + html.split("</header>")[1].split("<script>/*")[0]
    assert HOSTILE not in html
    assert "&lt;img src=x" in html


def test_nothing_is_loaded_from_outside(runs: Path, html: str) -> None:
    assert html.count("* plotly.js v") == 1
    assert "content=\"default-src 'none'" in html
    page = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:)?//""", page)
    assert (runs / "report.html").stat().st_size < 10e6


def test_the_same_runs_give_the_same_file(runs: Path, html: str, tmp_path: Path) -> None:
    assert report.main([str(runs), "--out", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == html


# What is there, and what is not -----------------------------------------------------------------------------


def test_one_run_alone_names_what_is_missing(runs: Path, tmp_path: Path) -> None:
    assert report.main([str(runs / "reproduce"), "--out", str(tmp_path / "r.html")]) == 0
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    for name in ("scripts.compare", "scripts.frontier", "scripts.pareto "):
        assert f"python -m {name}" in text
    assert "python -m scripts.reproduce" not in text
    assert set(panels_of(text)) == {"reproduction-headlines", "reproduction-sensitivity"}


def test_two_scenarios_one_after_the_other(own: Path) -> None:
    shutil.copytree(own / "front", own / "other")
    change(own / "other" / "run.json", lambda r: r["config"]["scenario_resolved"].update(name="elsewhere"))
    assert report.main([str(own)]) == 0
    names = set(panels_of((own / "report.html").read_text(encoding="utf-8")))
    assert {"front-two_sites-pareto", "front-elsewhere-pareto"} <= names


def test_tiles_name_their_case_where_there_are_several(own: Path) -> None:
    assert report.main([str(own)]) == 0
    assert "Case: " not in (own / "report.html").read_text(encoding="utf-8")
    change(
        own / "front" / "run.json",
        lambda r: r["config"]["scenario_resolved"].update(name="else_where", horizon_h=48.0),
    )
    assert report.main([str(own)]) == 0
    head = (own / "report.html").read_text(encoding="utf-8").split('<dl class="tiles">')[1].split("</dl>")[0]
    tiles = head.split('<div class="tile">')[1:]
    assert len(tiles) >= 4 and all("Case: " in tile for tile in tiles)
    falls = next(tile for tile in tiles if "Emissions can fall by" in tile)
    assert "Case: else where, 48 h" in falls
    assert sum("Case: two sites, 6 h" in tile for tile in tiles) >= 2
    assert "Case: both source models" in tiles[-1]


def test_other_settings_are_told(own: Path) -> None:
    change(own / "front" / "run.json", lambda r: r["config"]["scenario_resolved"].update(horizon_h=48.0))
    assert report.main([str(own)]) == 0
    assert "different settings (" in (own / "report.html").read_text(encoding="utf-8")


def change(path: Path, edit: Any) -> None:
    record = json.loads(path.read_text(encoding="utf-8"))
    edit(record)
    path.write_text(json.dumps(record), encoding="utf-8")


# Bad input --------------------------------------------------------------------------------------------------


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error."""
    capsys.readouterr()
    assert report.main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_folders_without_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such folder" in refused([str(tmp_path / "none")], capsys)
    assert "holds no run.json" in refused([str(tmp_path)], capsys)
    (tmp_path / "run.json").write_text('{"kind"', encoding="utf-8")
    assert "run.json: not a run.json" in refused([str(tmp_path)], capsys)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"environment_version": 99}, "environment_version is 99"),
        ({"run_format": 0}, "run_format is 0"),
        ({"kind": "poetry"}, "kind 'poetry' is unknown"),
    ],
)
def test_runs_that_are_none(
    edit: dict[str, Any], message: str, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(own / "front" / "run.json", lambda record: record.update(edit))
    assert message in refused([str(own / "front")], capsys)
    assert message in left_out(own, capsys)


def left_out(root: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one warning of a report that leaves a run out; the page must give the same reason."""
    capsys.readouterr()
    assert report.main([str(root)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("warning: left out: ")
    text = unescape((root / "report.html").read_text(encoding="utf-8"))
    reason = lines[0].removeprefix("warning: left out: ").replace(f"{root}/", "")
    assert f"is left out, because {reason}</p>" in text
    return lines[0]


@pytest.mark.parametrize("kind", ["compare", "frontier", "front", "reproduce"])
def test_a_bad_run_among_others_is_left_out(kind: str, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that was killed before it wrote its tables, a lost file, and half a run.json."""
    table = {"compare": "summary.csv", "reproduce": "headlines.csv"}.get(kind, f"{kind}.csv")
    (own / kind / table).unlink()
    assert f"{kind}/{table}: missing" in left_out(own, capsys)
    (own / kind / "run.json").write_text('{"kind"', encoding="utf-8")
    assert f"{kind}/run.json: not a run.json" in left_out(own, capsys)
    text = (own / "report.html").read_text(encoding="utf-8")
    prefix = {"compare": "ladder", "reproduce": "reproduction"}.get(kind, kind)
    assert not any(name.startswith(f"{prefix}-") for name in panels_of(text))
    name = {"front": "pareto"}.get(kind, kind)
    assert f"python -m scripts.{name} " in text  # it counts as missing


def test_the_named_run_itself_must_be_good(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where good runs lie below it."""
    shutil.move(own / "reproduce", own / "front" / "below")
    (own / "front" / "front.csv").unlink()
    assert "front.csv: missing" in refused([str(own / "front")], capsys)
    change(own / "front" / "run.json", lambda record: record.update(environment_version=0))
    assert "environment_version is 0" in refused([str(own / "front")], capsys)


def test_only_bad_runs_are_an_error(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("compare", "frontier", "front", "reproduce"):
        change(own / kind / "run.json", lambda record: record.update(environment_version=0))
    assert "no run can be shown" in (message := refused([str(own)], capsys))
    assert "compare/run.json: environment_version is 0" in message and "(and 3 more)" in message
    assert not (own / "report.html").exists()
    for kind in ("compare", "frontier", "reproduce"):
        shutil.rmtree(own / kind)
    change(own / "front" / "run.json", lambda r: r.update(environment_version=environment_version()))
    (own / "front" / "front.csv").unlink()
    assert "no run can be shown" in refused([str(own)], capsys)


@pytest.mark.parametrize("kind", ["solve", "demonstrate"])
def test_only_runs_of_which_nothing_is_drawn(
    kind: str, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(own / "front" / "run.json", lambda record: record.update(kind=kind))
    assert f"holds only runs of kind {kind}" in refused([str(own / "front")], capsys)
    assert report.main([str(own)]) == 0 and not capsys.readouterr().err  # beside others it is no fault


@pytest.mark.parametrize(
    "file",
    [
        "compare/summary.csv",
        "compare/tables/greedy_seed5.csv",
        "frontier/frontier.csv",
        "frontier/layers.csv",
        "front/front.csv",
        "reproduce/headlines.csv",
    ],
)
def test_damaged_files_are_named(file: str, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (own / file).read_text(encoding="utf-8")
    (own / file).write_text(text[: len(text.rstrip().rsplit(",", 2)[0])], encoding="utf-8")
    run = own / file.split("/")[0]
    message = refused([str(run)], capsys)
    assert str(own / file) in message and "half-written" in message
    (own / file).write_text(text.splitlines()[0] + "\n", encoding="utf-8")
    assert "has no rows" in refused([str(run)], capsys)
    (own / file).unlink()
    assert "missing" in refused([str(run)], capsys)
    assert not (run / "report.html").exists()


def test_cells_that_are_no_numbers(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = own / "front" / "front.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    cost = rows_of(path)[4]["cost_usd"]
    lines[5] = lines[5].replace(cost, "many", 1)
    path.write_text("\n".join(lines), encoding="utf-8")
    assert "front.csv, line 6: cost_usd is 'many', must be a number" in refused([str(own / "front")], capsys)


def test_places_that_cannot_be_written(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is a folder" in refused([str(runs), "--out", str(runs)], capsys)
    assert "there is no folder" in refused([str(runs), "--out", str(runs / "no" / "r.html")], capsys)


def test_an_old_report_survives_a_failure(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = own / "front"
    (run / "report.html").write_text("old", encoding="utf-8")
    (run / "front.csv").unlink()
    refused([str(run)], capsys)
    assert (run / "report.html").read_text(encoding="utf-8") == "old"
    assert [path.name for path in run.iterdir() if path.name.startswith(".")] == []


def test_missing_plotly_names_the_extra(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert "plotly: pip install -e '.[report]'" in refused([str(runs)], capsys)


# Small things -----------------------------------------------------------------------------------------------


def test_data_cannot_end_its_element() -> None:
    text = panel_json(Panel("key", store={"</script><b>": ["<!--", "\u2028"]}))
    assert "<" not in text and "\u2028" not in text
    assert json.loads(text)["store"] == {"</script><b>": ["<!--", "\u2028"]}


def test_policies_are_told_apart() -> None:
    names = [
        "local_only",
        "mpc:day_ahead",
        "variant:no_battery",
        "ppo:runs/a/model.zip",
        "ppo:runs/b/model.zip",
        "ppo",
    ]
    names += ["ppo:best.zip", "mine", "learned:pretrained", "residual:pretrained", "rule:merit_order"]
    labels = [policy_label(name) for name in names]
    assert len(set(labels)) == len(names)
    assert labels[3:7] == ["PPO, a", "PPO, b", "PPO, learned", "PPO, best"]
    assert labels[8:] == ["Learned, pretrained", "Residual, pretrained", "Merit-Order"]
    assert len({policy_colour(name) for name in names[-3:]} | {policy_colour("ppo")}) == 4


def test_numbers_and_tables(tmp_path: Path) -> None:
    cases = {
        12345.6: "12,346",
        0.0: "0",
        -0.01234: "−0.0123",
        99.96: "100",
        1e-20: "0",
        20.0: "20",
        1.5: "1.5",
    }
    assert {value: number(value) for value in cases} == cases
    assert number(float("nan")) == "–"
    assert [tidy(x) for x in (float("inf"), 1.23456789, 3.0)] == [None, 1.2346, 3]
    assert seed_text([0, 1, 2, 7, 9, 10]) == "0–2, 7, 9–10"
    (tmp_path / "t.csv").write_text("a,b\n1,\n2,x\n", encoding="utf-8")
    table = read_table(tmp_path / "t.csv")
    assert table.where(a="2").text("b") == ["x"]
    assert table.numbers("a").tolist() == [1.0, 2.0]


# In a browser -----------------------------------------------------------------------------------------------


def find_browser() -> str:
    """Path of a browser; without one the test is skipped, or fails where the surroundings promise one."""
    wanted = os.environ.get(BROWSER)
    found = wanted or next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        message = f"no browser found: {', '.join(NAMES)}, or name one by {BROWSER}"
        if os.environ.get(NEED):
            pytest.fail(message)
        pytest.skip(message)
    return found


def browse(page: Path, query: str = "") -> tuple[str, list[str]]:
    """The page after its scripts have run, and the lines on its console."""
    with tempfile.TemporaryDirectory() as profile:
        command = [
            find_browser(),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--disable-dev-shm-usage", f"--user-data-dir={profile}", "--window-size=1280,2000"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0"),
            *("--virtual-time-budget=30000", "--dump-dom", f"{page.as_uri()}{query}"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


class Plots(HTMLParser):
    """What stands in each plot of a drawn page: marks (curves, bars, points, cells) and text."""

    def __init__(self, dom: str) -> None:
        super().__init__()
        self.body: dict[str, str | None] = {}
        self.marks: list[int] = []
        self.text: list[str] = []
        self.depth = 0
        self.feed(dom)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        classes = (found.get("class") or "").split()
        if tag == "body":
            self.body = found
        if tag == "div" and "js-plotly-plot" in classes:
            self.marks.append(0)
            self.text.append("")
            self.depth = 1
        elif self.depth and tag == "div":
            self.depth += 1
        marks = ("js-line", "js-fill", "point", "scatterpts")
        if self.depth and (tag == "image" or (tag == "path" and (found.get("d") or found.get("transform")))):
            self.marks[-1] += (
                tag == "image" or any(mark in classes for mark in marks) or "vector-effect" in str(found)
            )

    def handle_endtag(self, tag: str) -> None:
        if self.depth and tag == "div":
            self.depth -= 1

    def handle_data(self, data: str) -> None:
        if self.depth:
            self.text[-1] += data


@pytest.fixture(scope="module")
def drawn(runs: Path, html: str) -> Iterator[tuple[Plots, list[str]]]:
    dom, console = browse(runs / "report.html")
    yield Plots(dom), console


def test_every_plot_draws(drawn: tuple[Plots, list[str]], html: str) -> None:
    plots, _ = drawn
    expected = sum(len(panel["plots"]) for panel in panels_of(html).values())
    assert expected >= 15
    assert plots.body["data-figures"] == plots.body["data-drawn"] == str(expected)
    assert len(plots.marks) == expected
    assert all(plots.marks), plots.marks


def test_the_console_is_clean(drawn: tuple[Plots, list[str]]) -> None:
    plots, console = drawn
    assert console == []
    assert plots.body["data-errors"] == "[]"


def test_selectors_change_the_plots(drawn: tuple[Plots, list[str]], runs: Path, html: str) -> None:
    panels, before = panels_of(html), drawn[0]
    order = [name for name in panels for _ in panels[name]["plots"]]
    assert first_state(html, "hours-schedule")["left"] == "greedy"
    query = "?hours-schedule.left=local_only&frontier-curves.view=total&places-map.policy=local_only"
    dom, console = browse(runs / "report.html", query)
    after = Plots(dom)
    assert console == [] and after.body["data-errors"] == "[]"
    left = order.index("hours-schedule")
    assert "Greedy" in before.text[left] and "Local-Only" in after.text[left]
    assert before.text[left + 1] == after.text[left + 1]  # the other side stays
    curves = order.index("frontier-curves")  # policies are drawn beside the values, not beside the gain
    assert "Greedy" not in before.text[curves] and "Greedy" in after.text[curves]
    places = order.index("places-map")
    assert before.marks[places] > after.marks[places]  # Local-Only moves nothing
    for name in ("ladder-gain", "routes-closed"):
        assert before.text[order.index(name)] == after.text[order.index(name)]


def test_broken_pages_are_noticed(runs: Path, html: str, tmp_path: Path) -> None:
    """The test above would see an error, a missing plot and a request to the outside."""
    broken = html.replace("Plotly.react(", "Plotly.reactt(", 1).replace(
        "<footer>", '<img src="https://example.org/x.png" alt=""><footer>'
    )
    (tmp_path / "broken.html").write_text(broken, encoding="utf-8")
    dom, console = browse(tmp_path / "broken.html")
    plots = Plots(dom)
    assert console != [] and plots.body["data-errors"] != "[]"
    assert plots.body["data-drawn"] != plots.body["data-figures"]
