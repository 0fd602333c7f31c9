"""The commands `compare` and `solve`, end to end on a few hours, and what they say to bad input."""

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from baselines.optimum import milp
from baselines.optimum.milp import Plan
from baselines.optimum.milp import solve as solve_plan
from baselines.optimum.plan_files import load_plan
from baselines.optimum.shadow_prices import shadow_prices
from gridai_env.episodes.instance import load_instance, make_instance
from gridai_env.files import InstanceError
from gridai_env.rollout.run import run
from gridai_env.version import environment_version
from gridai_env.world.terms import TERMS
from scripts import compare, solve, train
from scripts.report.__main__ import main as report
from scripts.runs.arguments import parse_seeds
from scripts.runs.command import InputError
from scripts.runs.folder import read_run
from scripts.studies.comparison import match
from scripts.studies.comparison.ladder import PARTS
from scripts.studies.comparison.table import comparison_table, footnotes
from tests.support.small_scenario import flexible

POLICIES = ["local_only", "greedy", "random", "milp"]
BASE = ["--scenario", "two_sites", "--horizon-h", "6", "--threads", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison of four policies on two seeds."""
    path = tmp_path_factory.mktemp("compare") / "run"
    words = [*BASE, "--policies", *POLICIES, "--seeds", "3", "5", "--run-dir", str(path)]
    assert compare.main(words) == 0
    return path


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "summary.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_one_row_per_policy_and_seed(rows: list[dict[str, str]]) -> None:
    assert [(row["seed"], row["policy"]) for row in rows] == [(s, p) for s in "35" for p in POLICIES]
    first = ["policy", "seed", "benefit_usd", "bound_usd", "bill_usd", "emissions_kg", "dropped_gpuh"]
    assert list(rows[0])[:7] == first


def test_nobody_beats_the_bound(rows: list[dict[str, str]]) -> None:
    for row in rows:
        scale = sum(abs(float(value)) for key, value in row.items() if key.startswith("terms/"))
        assert float(row["benefit_usd"]) <= float(row["bound_usd"]) + 1e-6 * scale
        assert float(row["gap"]) >= -1e-6
        captured = {"local_only": 0.0, "milp": 1.0}.get(row["policy"])
        if captured is not None:
            assert float(row["gain_captured"]) == pytest.approx(captured, abs=2e-3)


def test_rows_are_the_judge_s_verdict(rows: list[dict[str, str]]) -> None:
    from baselines.rules.greedy import Greedy

    row = next(row for row in rows if (row["policy"], row["seed"]) == ("greedy", "5"))
    t = run(Greedy(), make_instance("two_sites", seed=5, horizon_h=6.0))
    assert float(row["benefit_usd"]) == t.benefit_usd
    assert row["instance_hash"] == t.instance.hash
    for name, value in t.terms.items():
        assert float(row[f"terms/{name}_usd"]) == value
    assert float(row["gap"]) == pytest.approx(
        (float(row["bound_usd"]) - t.benefit_usd) / float(row["local_bill_usd"]), rel=1e-9
    )


def test_tables(folder: Path) -> None:
    for policy in POLICIES:
        for seed in (3, 5):
            with open(folder / "tables" / f"{policy}_seed{seed}.csv", newline="") as file:
                table = list(csv.DictReader(file))
            assert len(table) == 6
            assert "import_mw/california" in table[0]


def test_shadow_prices_beside_the_schedule(folder: Path) -> None:
    """They are those of the optimum's limits: a price per step and site."""
    for seed in (3, 5):
        with open(folder / f"shadow_prices_seed{seed}.csv", newline="") as file:
            table = list(csv.DictReader(file))
        prices = shadow_prices(solve_plan(make_instance("two_sites", seed=seed, horizon_h=6.0), mip_gap=1e-3))
        assert len(table) == 6
        for k, site in enumerate(("california", "texas")):
            found = [float(row[f"energy_usd_per_mwh/{site}"]) for row in table]
            np.testing.assert_allclose(found, prices.energy_usd_per_mwh[:, k], rtol=1e-9)


def test_run_json_says_what_ran(folder: Path, rows: list[dict[str, str]]) -> None:
    record = read_run(folder, "compare")
    assert record["finished"] is True
    assert record["seeds"] == [3, 5]
    assert record["environment_version"] == environment_version()
    assert {i["hash"] for i in record["instances"]} == {row["instance_hash"] for row in rows}
    assert record["config"]["horizon_h"] == 6.0
    assert record["config"]["scenario_resolved"]["horizon_h"] == 6.0
    assert {"numpy", "gymnasium", "python"} <= set(record["versions"])
    assert record["device"] == "cpu"


def events(folder: Path, policy: str) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder / "tensorboard" / policy))
    accumulator.Reload()
    return accumulator


GROUPS = {
    "episode": "gain_captured benefit_usd bill_usd emissions_kg dropped_gpuh",
    "episode_more": "battery_cycles bound_usd curtailed_mwh gap path_latency_mean_ms path_latency_p95_ms "
    "served_share wait_mean_h",
    "ladder": " ".join(("benefit_usd", "gain_captured", "regret", *PARTS)),
    "terms": " ".join(f"{name}_usd" for name in TERMS),
}


def test_all_policies_write_the_same_tags(folder: Path) -> None:
    found = {policy: set(events(folder, policy).Tags()["scalars"]) for policy in POLICIES}
    assert found["greedy"] == found["local_only"] == found["milp"] == found["random"]
    curves = {tag for tag in found["greedy"] if tag.startswith("time_series/")}
    expected = {
        "time_series/import_mw/california/seed3",
        "time_series/battery_mwh/texas/seed5",
        "time_series/busy_gpus/texas/seed3",
        "time_series/served_gpuh/batch/anywhere/seed3",
        "time_series/route_share/west_to_texas/seed3",
        "time_series/buy_usd_per_mwh/texas/seed3",
        "time_series/carbon_kg_per_mwh/california/seed3",
    }
    assert expected <= curves
    whole = {f"{group}/{name}" for group, names in GROUPS.items() for name in names.split()}
    assert found["greedy"] - curves == whole - {f"ladder/{part}" for part in PARTS}  # of planners only


def test_the_pinned_layout_shows_tags_that_are_there(folder: Path) -> None:
    board = events(folder, "greedy")
    tags = board.Tags()["scalars"]
    config = board.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    layout = layout_pb2.Layout.FromString(config)
    assert [group.title for group in layout.category] == [
        "1 ladder",
        "2 episodes",
        "3 hours of the first seeds",
    ]
    assert sorted({tag.split("/")[0] for tag in tags}) == [*GROUPS, "time_series"]  # as they are shown
    for group in layout.category:
        for chart in group.chart:
            assert any(re.match(one, tag) for one in chart.multiline.tag for tag in tags), chart.title


def test_curves_are_the_tables(folder: Path) -> None:
    board = events(folder, "greedy")
    t = run(compare_rule(), make_instance("two_sites", seed=3, horizon_h=6.0))
    for name, tag in (("import_mw/texas", "import_mw/texas/seed3"), ("benefit_usd", "benefit_usd/seed3")):
        curve = board.Scalars(f"time_series/{tag}")
        assert [event.step for event in curve] == list(range(6))
        np.testing.assert_allclose([event.value for event in curve], t.table[name], rtol=1e-6)
    hours = [event.wall_time for event in board.Scalars("time_series/benefit_usd/seed3")]
    assert hours[0] == t.table["time_utc"][0].astype(np.int64)
    assert board.Tags()["images"] == ["schedule/seed3", "schedule/seed5"]
    assert "config/text_summary" in board.Tags()["tensors"]


def compare_rule() -> Any:
    from baselines.rules.greedy import Greedy

    return Greedy()


def test_the_same_folder_again(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second run asks first, then replaces all of the first; and the screen shows the table."""
    folder = shutil.copytree(folder, tmp_path / "again")
    words = [*BASE, "--policies", "local_only", "milp", "--seeds", "3", "--run-dir", str(folder)]
    before = (folder / "summary.csv").read_bytes()
    message = refused(words, capsys)
    assert "--overwrite" in message and str(folder) in message
    assert (folder / "summary.csv").read_bytes() == before
    assert compare.main([*words, "--overwrite"]) == 0
    with open(folder / "summary.csv", newline="") as file:
        assert [row["policy"] for row in csv.DictReader(file)] == ["local_only", "milp"]
    assert len(events(folder, "milp").Scalars("time_series/benefit_usd/seed3")) == 6
    left = {path.name for path in (folder / "tables").iterdir()}
    assert left == {f"{policy}_seed3.csv" for policy in ("local_only", "milp")}
    assert {path.name for path in (folder / "tensorboard").iterdir()} == {"local_only", "milp"}
    shown = capsys.readouterr().out
    for text in (
        "policy",
        "benefit USD",
        "gain captured",
        "local_only",
        "US-TEX-ERCO",
        "tensorboard --logdir",
    ):
        assert text in shown


@pytest.mark.parametrize("objective", ["cost", "carbon"])
def test_other_objectives(objective: str, tmp_path: Path) -> None:
    words = [*BASE, "--policies", "milp", "greedy", "random", "--seeds", "4", "--run-dir", str(tmp_path)]
    assert compare.main([*words, "--objective", objective]) == 0
    with open(tmp_path / "summary.csv", newline="") as file:
        rows = {row["policy"]: row for row in csv.DictReader(file)}
    key = {"cost": "cost_usd", "carbon": "emissions_kg"}[objective]
    assert float(rows["milp"]["score"]) == -float(rows["milp"][key])
    assert rows["milp"]["meets_floor"] == "1"
    assert rows["random"]["meets_floor"] == "0"
    assert float(rows["milp"]["gain_captured"]) == pytest.approx(1.0, abs=0.01)


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """Seeds that all have played stay; the one under way leaves nothing behind."""
    honest, calls = match.play, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return honest(*arguments)

    monkeypatch.setattr(match, "play", interrupted)
    words = [*BASE, "--policies", "local_only", "greedy", "--seeds", "0-3", "--run-dir", str(tmp_path)]
    assert compare.main(words) == 130
    with open(tmp_path / "summary.csv", newline="") as file:
        assert [(row["policy"], row["seed"]) for row in csv.DictReader(file)] == [
            ("local_only", "0"),
            ("greedy", "0"),
        ]
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {
        "local_only_seed0.csv",
        "greedy_seed0.csv",
    }
    assert read_run(tmp_path)["finished"] is False
    shown = capsys.readouterr()
    assert "local_only" in shown.out
    assert "--continue" in shown.err


def test_no_plan_in_time_still_leaves_a_table(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:

    honest = milp.solve

    def hasty(*arguments: Any, **options: Any) -> Plan:
        plan = honest(*arguments, **options)
        nothing = {"flows": None, "actions": None, "objective_value": None, "benefit_usd": None}
        return Plan(**{**vars(plan), **nothing, "status": "time_limit", "gap": float("inf")})

    monkeypatch.setattr(milp, "solve", hasty)
    words = [*BASE, "--policies", "local_only", "milp", "--seeds", "0", "--run-dir", str(tmp_path)]
    assert compare.main(words) == 0
    shown = capsys.readouterr()
    assert "no plan within the time limit" in shown.out + shown.err
    with open(tmp_path / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["policy"] for row in rows] == ["local_only"]
    assert float(rows[0]["gap"]) > 0.0


def test_a_trained_network_takes_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained = tmp_path / "trained"
    tiny = str(Path(__file__).resolve().parents[2] / "configs" / "agents" / "ppo_tiny.yaml")
    words = ["--config", tiny, "--run-dir", str(trained), "--no-bounds", "--no-evaluation"]
    assert train.main(words) == 0
    network = f"ppo:{trained / 'model.zip'}"
    out = trained / "compare"
    assert compare.main([*BASE, "--policies", network, "milp", "--seeds", "1", "--run-dir", str(out)]) == 0
    with open(out / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["policy"] for row in rows] == [network, "milp"]
    assert float(rows[0]["seconds_per_decision"]) > 0.0
    assert (out / "tables" / "ppo_seed1.csv").is_file()
    assert set(events(out, "ppo").Tags()["scalars"]) == set(events(out, "milp").Tags()["scalars"])
    capsys.readouterr()

    other = tmp_path / "other"
    words = ["--scenario", "four_markets", "--policies", network, "--seeds", "0", "--run-dir", str(other)]
    message = refused(words, capsys)
    assert "'two_sites'" in message
    assert "'four_markets'" in message
    (trained / "run.json").unlink()
    words = [*BASE, "--policies", network, "--seeds", "0", "--run-dir", str(other)]
    assert "run.json" in refused(words, capsys)
    assert not other.exists()


# Bad input


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run `compare`, insist on exit code 2 and one line; return it."""
    assert compare.main(words) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert "Traceback" not in shown.err
    return shown.err


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        (["--policies", "gredy"], ["'gredy'", "greedy", "local_only"]),
        (["--policies", "greedy", "greedy"], ["twice", "greedy"]),
        (["--policies", "ppo:"], ["'ppo:'", "ppo:PATH"]),
        (["--policies", "mpc:dayahead"], ["'mpc:dayahead'", "mean 'mpc:day_ahead'", "mpc:persistence"]),
        (["--policies", "mcp:perfect"], ["'mcp:perfect'", "mean 'mpc:perfect'"]),
        (
            ["--policies", "variant:nobattery"],
            ["'variant:nobattery'", "mean 'variant:no_battery'", "variant:no_routing"],
        ),
        (["--jobs", "0"], ["--jobs 0", "at least 1"]),
        (["--threads", "0"], ["--threads 0", "at least 1"]),
        (["--policies", "ppo:nowhere/model.zip"], ["nowhere/model.zip", "no such file"]),
        (["--seeds", "1", "x"], ["--seeds 'x'", "0-19"]),
        (["--seeds", "3-1"], ["'3-1'", "1-3"]),
        (["--seeds", "1", "0-2"], ["twice", "1"]),
        (["--seeds", "-1"], ["--seeds '-1'", ">= 0"]),
        (["--mip-gap", "1.5"], ["--mip-gap 1.5", "[0, 1)"]),
        (["--time-limit-s", "0"], ["--time-limit-s 0", "[s]"]),
        (["--scenario", "two_site"], ["two_site", "two_sites"]),
        (["--traces", "nowhere.csv"], ["nowhere.csv"]),
        (["--horizon-h", "-3"], ["horizon_h"]),
        (["--start", "yesterday"], ["yesterday"]),
    ],
)
def test_bad_input_is_one_line(
    change: list[str], texts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = {
        "--scenario": ["two_sites"],
        "--policies": ["local_only"],
        "--seeds": ["0"],
        "--run-dir": [str(out)],
    }
    options[change[0]] = change[1:]
    words = [word for name, values in options.items() for word in (name, *values)]
    message = refused(words, capsys)
    for text in texts:
        assert text in message
    assert not out.exists()


def test_an_output_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    words = ["--scenario", "two_sites", "--policies", "local_only", "--run-dir"]
    assert "cannot be written" in refused([*words, str(blocked / "run")], capsys)


def test_files_of_no_comparison_are_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mine.png").write_text("a picture")
    words = ["--scenario", "two_sites", "--policies", "local_only", "--run-dir", str(tmp_path)]
    assert "figures" in refused([*words, "--overwrite"], capsys)
    assert (tmp_path / "figures" / "mine.png").exists()


def test_a_folder_of_another_run_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"kind": "train"}))
    words = ["--scenario", "two_sites", "--policies", "local_only", "--run-dir", str(tmp_path)]
    message = refused(words, capsys)
    assert "'train'" in message
    assert str(tmp_path / "compare") in message
    assert json.loads((tmp_path / "run.json").read_text()) == {"kind": "train"}


def test_readers_refuse_another_version(tmp_path: Path) -> None:
    good = {"kind": "compare", "run_format": 1, "environment_version": environment_version()}
    file = tmp_path / "run.json"
    for change in ({"environment_version": 99}, {"run_format": 0}, {"kind": "train"}):
        file.write_text(json.dumps(good | change))
        with pytest.raises(InputError, match=next(iter(change))):
            read_run(tmp_path, "compare")
    file.write_text(json.dumps(good))
    assert read_run(tmp_path, "compare") == good
    file.write_text("{")
    with pytest.raises(InputError, match=r"not a run\.json"):
        read_run(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_run(tmp_path / "nothing")


def test_seeds() -> None:
    assert parse_seeds(["0-3", "7", "5"]) == [0, 1, 2, 3, 7, 5]


# The table


def test_the_table_by_hand() -> None:
    base = {
        "policy": "a",
        "bill_usd": 100.0,
        "emissions_kg": 2000.0,
        "dropped_gpuh": 0.5,
        "path_latency_mean_ms": 10.0,
        "path_latency_p95_ms": 20.0,
        "seconds_per_decision": float("nan"),
        "bound_score": 60.0,
        "local_score": 20.0,
        "reference": 200.0,
        "meets_floor": 1,
    }
    rows = [{**base, "seed": s, "benefit_usd": 30.0 + 20.0 * s, "score": 30.0 + 20.0 * s} for s in (0, 1)]
    header, _, line = comparison_table(rows).splitlines()
    assert header.split()[0] == "policy"
    # Mean benefit 40; gap (120 - 80) / 400; gain (80 - 40) / (120 - 40).
    for text in ("40 [30, 50]", "2.0", "10.00%", "50.0% [25.0%, 75.0%]", " -"):
        assert text in line


def some_rows(**scores: list[float]) -> list[dict[str, Any]]:
    """Rows of policies by their benefit on seeds 0, 1, ..., NaN where they have no result."""
    base = dict.fromkeys(("bill_usd", "emissions_kg", "dropped_gpuh", "seconds_per_decision"), 1.0)
    base |= dict.fromkeys(("path_latency_mean_ms", "path_latency_p95_ms", "reference", "meets_floor"), 1.0)
    base |= {"local_score": 0.0, "bound_margin": 0.1, "build_s": 1.0, "solve_s": 1.0}
    rows = []
    for policy, values in scores.items():
        for seed, value in enumerate(values):
            facts = {
                "objective": "benefit",
                "policy": policy,
                "seed": seed,
                "bound_score": 10.0 ** (seed + 1),
            }
            late = np.isnan(scores["milp"][seed])
            facts |= {"solver_status": "time_limit" if late else "optimal"}
            rows.append({**base, **facts, "benefit_usd": value, "score": value})
            rows[-1] |= {"solver_gap": np.inf if late else 0.001}
    return [row for row in rows if not np.isnan(row["score"])]


def test_lines_are_means_over_the_same_episodes() -> None:
    """Without a plan on the first seed, milp's own mean would be that of the second alone."""
    nan = float("nan")
    rows = some_rows(greedy=[6.0, 60.0, 600.0], milp=[nan, 90.0, 900.0])
    lines = comparison_table(rows).splitlines()[2:]
    assert [line.split()[:2] for line in lines] == [["greedy", "330"], ["milp", "495"]]
    notes = "\n".join(footnotes(rows))
    assert "means over the 2 of 3 episodes on which every policy has a result (milp has none on 1)" in notes
    assert "within 0.10% of the bound; 1 stopped at the time limit, 1 of them without a plan" in notes
    for flags, how in (([1, 1], ", proven"), ([1, 0], ", on some episodes to solver tolerance")):
        told = [row | {"bound_is_safe": flags[row["seed"] % 2]} for row in rows]
        assert f"within 0.10% of the bound{how}; 1 stopped" in "\n".join(footnotes(told))
    assert "means over 3 episode(s);" in "\n".join(footnotes(some_rows(milp=[1.0, 2.0, 3.0])))


def test_lines_without_an_episode_in_common_say_so() -> None:
    nan = float("nan")
    rows = some_rows(greedy=[6.0, nan, nan], milp=[nan, 90.0, 900.0])
    table = comparison_table(rows)
    assert "greedy (n = 1)" in table and "milp (n = 2)" in table
    notes = "\n".join(footnotes(rows))
    assert (
        "there is no episode on which every policy has a result (greedy has none on 2, milp has none on 1)"
        in notes
    )


# solve


def test_solve_writes_a_plan_that_replays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "plan.npz"
    assert solve.main([*BASE, "--seed", "2", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    for text in ("optimal", "bound", "build", "import", "difference to the solver"):
        assert text in shown
    plan, instance = load_plan(out), load_instance(tmp_path / "deep" / "plan.instance.npz")
    assert plan.facts["instance_hash"] == instance.hash
    replay = run(Replay(instance, plan.actions, plan.flows), instance)
    assert replay.benefit_usd == pytest.approx(plan.facts["benefit_usd"], rel=1e-6)
    again = ["--instance", str(tmp_path / "deep" / "plan.instance.npz"), "--objective", "carbon"]
    assert solve.main(again) == 0
    assert "kg" in capsys.readouterr().out


class Replay:
    """A saved plan with its instance."""

    def __init__(self, instance: Any, actions: Any, flows: Any) -> None:
        self.instance, self.actions, self.flows = instance, actions, flows


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        ([], ["either --scenario", "--instance"]),
        (["--scenario", "two_sites", "--seed", "-1"], ["--seed -1"]),
        (["--scenario", "two_sites", "--out", "plan.txt"], [".npz"]),
        (["--scenario", "two_sites", "--mip-gap", "2"], ["--mip-gap 2"]),
        (["--instance", "nowhere.npz"], ["nowhere.npz"]),
        (["--instance", "i.npz", "--horizon-h", "3"], ["--horizon-h", "saved instance"]),
        (["--instance", "i.npz", "--seed", "0", "--start", "2023-07-01"], ["--seed, --start"]),
        (["--instance", "i.npz", "--traces", "x.csv", "--forecast", "perfect"], ["--forecast, --traces"]),
    ],
)
def test_solve_refuses_bad_input(
    words: list[str], texts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert solve.main(words) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    for text in texts:
        assert text in message


def test_solve_refuses_a_place_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert solve.main([*BASE, "--out", str(tmp_path / "file" / "plan.npz")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_another_file_is_no_plan(tmp_path: Path) -> None:
    instance = make_instance("two_sites", seed=0, horizon_h=6.0)
    with pytest.raises(InstanceError, match="format"):
        load_plan(instance.save(tmp_path / "instance.npz"))


def test_demand_response_is_settled_and_its_gaming_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = tmp_path / "flexible.yaml"
    keys = flexible(jobs=[], carbon_budget_kg=None).scenario.model_dump(mode="json", exclude_defaults=True)
    scenario.write_text(yaml.safe_dump(keys))
    path = tmp_path / "run"
    words = [
        "--scenario",
        str(scenario),
        "--threads",
        "1",
        "--policies",
        "local_only",
        "--mip-gap",
        "0.01",
    ]
    assert compare.main([*words, "--seeds", "0", "1", "--run-dir", str(path)]) == 0
    printed = capsys.readouterr().out
    # The optimum is not asked for: it plays all the same.
    assert "milp plays too" in printed
    assert "statements of events, by the baseline that pays" in printed
    assert "shortfall USD" in printed
    for heading in (
        "called h", "MWh while called", "delivered", "cost USD", "work lost GPU-h", "rebound MWh", "baseline raised MW",
        "hourly CFE", "location-based t", "hourly market-based t",
    ):  # fmt: skip
        assert heading in printed, heading
    assert "with the grid's share: not known, sites[].grid.clean_share is not given" in printed
    with open(path / "settlement.csv", newline="") as file:
        settled = list(csv.DictReader(file))
    methods = {
        "mean of the last days",
        "highest 4 of 5, same-day adjustment",
        "10-in-10, same-day adjustment",
    }
    assert {row["baseline_method"] for row in settled} <= methods
    assert {row["policy"] for row in settled} == {"local_only", "milp"}
    # Local-Only pays no heed to a programme: it raises nothing.
    own = [row for row in settled if row["policy"] == "local_only" and row["baseline_inflation_mw"]]
    assert own and all(float(row["baseline_inflation_mw"]) == pytest.approx(0.0, abs=1e-9) for row in own)
    with open(path / "summary.csv", newline="") as file:
        summary = list(csv.DictReader(file))
    added = {"baseline_inflation_mw", "compliance_cost_usd", "work_lost_gpuh", "rebound_mwh/south/response"}
    added |= {"called_mwh/north/non-firm", "unmatched_mwh/north/wind", "cfe_score", "market_based_kg/north"}
    assert all(added <= set(row) for row in summary)
    assert report([str(path), "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for text in (
        "Flexible load: contracts with the grid",
        "north, non-firm",
        "Demand response: statements of events",
        "What answering calls costs",
        "cost of compliance [USD]",
        "Hourly matching",
        "hourly CFE [%]",
        "all sites",
    ):
        assert text in page, text
    # Finished seeds are kept whole.
    (path / "settlement.csv").unlink()
    again = [*words, "--seeds", "0", "1", "2", "--run-dir", str(path), "--continue"]
    assert compare.main(again) == 0
    with open(path / "settlement.csv", newline="") as file:
        assert {row["seed"] for row in csv.DictReader(file)} >= {row["seed"] for row in settled}
