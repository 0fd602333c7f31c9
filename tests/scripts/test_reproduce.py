"""`scripts.reproduce`: its experiments, its levers, its tables, going on after a kill, and bad input."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gridai_env import make_instance
from gridai_env.scenario.load import load_scenario
from scripts import reproduce
from scripts.runs.command import InputError
from scripts.runs.folder import read_run
from scripts.studies.reproduction import experiment, tasks
from scripts.studies.reproduction.experiment import Experiment, load_experiments, with_parameters
from scripts.studies.reproduction.sensitivities import BUDGET, LEVERS, changed
from scripts.studies.reproduction.tables import (
    QUANTITIES,
    SHOWN,
    check_headlines,
    first_half_share,
    latency_rows,
    movers,
    ratio_of_sums,
)
from scripts.studies.reproduction.tasks import tasks_of

WORDS = ["--quick", "--jobs", "1", "--threads", "1", "--parameters", "capacity_slack", "generation"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished small reproduction of both models."""
    path = tmp_path_factory.mktemp("reproduce") / "run"
    assert reproduce.main([*WORDS, "--run-dir", str(path)]) == 0
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "tasks").iterdir()}


# What is run --------------------------------------------------------------------------------------------------------


def test_shipped_experiments_ask_for_the_published_figures() -> None:
    published = {
        ("A", "cost_change"): (-10, -8),
        ("A", "carbon_change"): (-10, -7),
        ("A", "rid_net"): (30, 50),
        ("A", "first_half_share"): (50, 100),
        ("B", "benefit_ratio"): (3, 4),
        ("B", "emission_ratio"): (30, 40),
        ("B", "no_carbon_ratio"): (99, 101),
        ("B", "solve_s"): (0, 60),
    }
    experiments = load_experiments()
    found = {(m, h.quantity): (h.low, h.high) for m, one in experiments.items() for h in one.headlines}
    assert found == published
    for one in experiments.values():
        check_headlines(one)
        assert one.seeds == list(range(100, 100 + len(one.seeds))), "seeds are counted, not chosen"
        assert set(one.sensitivity_seeds) <= set(one.seeds)


def test_every_grid_holds_the_scenarios_own_value() -> None:
    for one in load_experiments().values():
        scenario = load_scenario(one.scenario)
        for parameter, grid in one.sensitivities.items():
            own = LEVERS[parameter].own(scenario)
            assert parameter == BUDGET or own in grid, (parameter, own)


def test_points_that_equal_the_scenario_are_computed_once() -> None:
    one = with_parameters(load_experiments(["A"]), ["capacity_slack"])["A"]
    names = [task.name for task in tasks_of(one)]
    assert len(names) == len(set(names))
    values = {task.value for task in tasks_of(one) if task.parameter == "capacity_slack"}
    assert values == set(one.sensitivities["capacity_slack"]) - {load_scenario(one.scenario).capacity_slack}


@pytest.mark.parametrize("parameter", LEVERS)
def test_a_lever_changes_nothing_but_its_own_keys(parameter: str) -> None:
    keys = {
        "capacity_slack": {"capacity_slack"},
        "carbon_price_usd_per_t": {"carbon_price_usd_per_t"},
        "egress_usd_per_gb": {"network"},
        "latency_scale": {"latency"},
        "generation": {"sites"},
        "battery_scale": {"sites"},
        BUDGET: {"carbon_budget_kg"},
    }.get(parameter, {"classes"})
    own = load_scenario("microgrid_prosumer")
    other = changed(own, parameter, 0.75)
    before, after = own.model_dump(), other.model_dump()
    if parameter == "payload_scale":
        assert (
            after["classes"][0]["payload_gb_per_gpuh"] == 0.75 * before["classes"][0]["payload_gb_per_gpuh"]
        )
    differ = {key for key in before if before[key] != after[key]}
    assert differ <= keys and (differ or parameter in ("state_bound_scale", "law_bound_scale"))


def test_levers_by_hand() -> None:
    own = load_scenario("microgrid_prosumer")
    assert changed(own, "generation", 2.0) is own and changed(own, "routable_share", 1.0) is own
    dark = make_instance(changed(own, "generation", 0.0), seed=0)
    assert dark.exogenous.renewable_available_mw.max() == 0.0
    half = make_instance(changed(own, "generation", 1.0), seed=0).exogenous.renewable_available_mw
    np.testing.assert_allclose(2.0 * half, make_instance(own, seed=0).exogenous.renewable_available_mw)
    assert all(site.battery is None for site in changed(own, "battery_scale", 0.0).sites)
    assert changed(own, "battery_scale", 4.0).sites[0].battery.power_mw == 40.0
    tied = make_instance(changed(own, "routable_share", 0.0), seed=0).params
    assert (tied.route_open == tied.home[:, None, :]).all()
    world = load_scenario("energy_geography")
    assert changed(world, "state_bound_scale", 2.0).classes[0].state_bound_share == 0.7
    assert changed(world, "egress_usd_per_gb", 0.16).network.same_zone_usd_per_gb == 0.16


def test_experiments_with_faults_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = yaml.safe_load((experiment.FOLDER / "reproduce_a.yaml").read_text(encoding="utf-8"))
    monkeypatch.setattr(experiment, "FOLDER", tmp_path)
    faults: list[tuple[dict[str, Any], str]] = [
        ({"sensitivities": {"capacity_slak": [1.1]}}, "did you mean 'capacity_slack'"),
        ({"sensitivities": {"capacity_slack": [1.3, 1.1]}}, "must rise"),
        ({"policies": ["joint", "local_onl"]}, "did you mean 'local_only'"),
        ({"policies": ["joint", "price_only"]}, "must contain 'joint' and the reference 'local_only'"),
        ({"seeds": []}, "seeds"),
        ({"speed": 1}, "speed"),
    ]
    for change, words in faults:
        (tmp_path / "reproduce_a.yaml").write_text(yaml.safe_dump(good | change), encoding="utf-8")
        with pytest.raises(InputError, match=words):
            load_experiments()
    one = Experiment.model_validate(good)
    for change, words in (
        ({"quantity": "cost_chance"}, "did you mean 'cost_change'"),
        ({"unit": "USD"}, "must be '%'"),
        ({"low": 5.0}, "is above high"),
    ):
        headline = one.headlines[0].model_copy(update=change)
        with pytest.raises(InputError, match=words):
            check_headlines(one.model_copy(update={"headlines": [headline]}))


# Figures by hand ----------------------------------------------------------------------------------------------------


def episode(local: dict[str, float], joint: dict[str, float], net: float = 0.4) -> dict[str, Any]:
    rid = {"latency": 0.9, "feasible": 0.6, "net": net, "real": 0.2}
    return {"policies": {"local_only": local, "joint": joint}, "rid": rid}


def test_quantities_by_hand() -> None:
    one = load_experiments(["A"])["A"]
    records = [
        episode(
            {"electricity_usd": 100.0, "emissions_kg": 10.0},
            {"electricity_usd": 80.0, "emissions_kg": 9.0},
            0.3,
        ),
        episode(
            {"electricity_usd": 300.0, "emissions_kg": 30.0},
            {"electricity_usd": 280.0, "emissions_kg": 29.0},
            0.5,
        ),
    ]
    cost = QUANTITIES["cost_change"][1](records, one)
    assert cost.value == pytest.approx(-10.0)  # 360 / 400, not the mean of -20 % and -6.7 %
    assert cost.low == pytest.approx(-20.0) and cost.high == pytest.approx(-20.0 / 3.0)
    assert QUANTITIES["carbon_change"][1](records, one).value == pytest.approx(-5.0)
    assert QUANTITIES["rid_net"][1](records, one).value == pytest.approx(40.0)
    assert np.isnan(ratio_of_sums(np.array([1.0]), np.array([-1.0])))
    assert set().union(*SHOWN.values()) <= set(QUANTITIES)


def sweep(values: list[float]) -> dict[str, Any]:
    return {"seed": 0, "latency": {"budget_ms": [0.0, 10.0, 40.0], "value_usd": values, "bound_usd": values}}


def test_the_first_half_of_the_latency_axis_by_hand() -> None:
    # Gains 0, 6 and 9 at 0, 10 and 40 ms: at 20 ms, the middle, 7; 7 / 9.
    assert first_half_share([sweep([5.0, -1.0, -4.0])]).value == pytest.approx(100.0 * 7.0 / 9.0)
    one = load_experiments(["A"])["A"]
    assert one.latency is not None
    one = one.model_copy(update={"latency": one.latency.model_copy(update={"budget_ms": [0.0, 10.0, 40.0]})})
    found = latency_rows(one, [sweep([5.0, -1.0, -4.0])])
    assert [r["ours"] for r in found if r["quantity"] == "gain"] == pytest.approx([0.0, 0.006, 0.009])
    assert [r["ours"] for r in found if r["quantity"] == "return"] == pytest.approx([0.6, 0.1])
    with pytest.raises(ValueError, match="model A, seed 0: V"):
        latency_rows(one, [sweep([5.0, -1.0, 3.0])])


def test_what_moves_a_headline_comes_with_the_values_at_which_it_is_inside() -> None:
    head = {"model": "A", "quantity": "cost_change", "published_low": -10.0, "published_high": -8.0}
    points = {("capacity_slack", 1.1): -6.0, ("capacity_slack", 1.3): -9.0, ("payload_scale", 1.0): -7.0}
    table = [
        {"model": "A", "parameter": p, "value": v, "quantity": "cost_change", "ours": x}
        for (p, v), x in points.items()
    ]
    first, second = movers(head, table)
    assert first.startswith("capacity_slack") and first.endswith("-6 at 1.1, -9 at 1.3; inside at 1.3")
    assert second.endswith("-7 at 1; never inside")


# A whole run --------------------------------------------------------------------------------------------------------


def test_a_run_writes_its_tables(folder: Path) -> None:
    headlines = rows(folder / "headlines.csv")
    assert len(headlines) == 8
    assert {
        "model",
        "headline",
        "unit",
        "published_low",
        "published_high",
        "ours",
        "low",
        "high",
        "inside",
    } <= set(headlines[0])
    for row in headlines:
        inside = float(row["published_low"]) <= float(row["ours"]) <= float(row["published_high"])
        assert row["inside"] == str(int(inside))
    sensitivity = rows(folder / "sensitivity.csv")
    assert {r["parameter"] for r in sensitivity} == {"capacity_slack", "generation", "interactive_budget_ms"}
    assert all(np.isfinite(float(r["ours"])) for r in sensitivity)
    policies = rows(folder / "policies.csv")
    assert [r["policy"] for r in policies if r["model"] == "A"] == load_experiments(["A"])["A"].policies
    assert [r["policy"] for r in policies if r["model"] == "B"] == load_experiments(["B"])["B"].policies
    board = EventAccumulator(str(folder / "tensorboard" / "A_capacity_slack"))
    board.Reload()
    assert [event.step for event in board.Scalars("sensitivity/cost_change")] == [1100, 2000]
    record = read_run(folder, "reproduce")
    assert record["finished"] and set(record["config"]["scenario_resolved"]) == {"A", "B"}


def test_headlines_are_what_policies_say(folder: Path) -> None:
    """With one seed the means are the episode."""
    by_name = {(r["model"], r["policy"]): r for r in rows(folder / "policies.csv")}
    ours = {(r["model"], r["quantity"]): float(r["ours"]) for r in rows(folder / "headlines.csv")}

    def of(model: str, policy: str, key: str) -> float:
        return float(by_name[model, policy][key])

    cost = 100.0 * (of("A", "joint", "cost_usd") / of("A", "local_only", "cost_usd") - 1.0)
    assert ours["A", "cost_change"] == pytest.approx(cost)
    ratio = of("B", "joint", "emissions_kg") / of("B", "compute_only", "emissions_kg")
    assert ours["B", "emission_ratio"] == pytest.approx(100.0 * ratio)
    for name in ("compute_only", "energy_only", "no_battery", "no_routing"):
        assert (
            of("B", name, "benefit_usd") <= of("B", "joint", "benefit_usd") * 1.03
        )  # the quick run's gap is 2 %


def test_a_finished_run_is_not_computed_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, headlines = stamps(folder), (folder / "headlines.csv").read_bytes()
    assert reproduce.main([*WORDS, "--run-dir", str(folder)]) == 0
    assert stamps(folder) == before and (folder / "headlines.csv").read_bytes() == headlines
    assert "\n0 of " in capsys.readouterr().out


def test_a_killed_run_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("A_capacity_slack_1.1_seed100.json", "A_capacity_slack_2_seed100.json")
    for name in names:
        (folder / "tasks" / name).unlink()
    kept, true = stamps(folder), tasks.compute
    done = []

    def interrupted(batch: Any, threads: int) -> Any:
        if done:
            raise KeyboardInterrupt
        done.extend(batch)
        return true(batch, threads)

    monkeypatch.setattr(tasks, "compute", interrupted)
    assert reproduce.main([*WORDS, "--run-dir", str(folder)]) == 130
    said = capsys.readouterr().err
    assert f"{len(kept) + 1} of {len(kept) + 2} tasks are kept; go on with --run-dir" in said
    monkeypatch.setattr(tasks, "compute", true)
    between = stamps(folder)
    assert reproduce.main([*WORDS, "--run-dir", str(folder)]) == 0
    after = stamps(folder)
    assert "\n1 of " in capsys.readouterr().out
    assert {name: after[name] for name in between} == between and set(after) == set(kept) | set(names)


def test_a_half_written_result_is_named_and_the_others_kept(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "tasks" / "A_own_0_seed100.json"
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole[: len(whole) // 2], encoding="utf-8")
    before = stamps(folder)
    assert reproduce.main([*WORDS, "--run-dir", str(folder)]) == 2
    said = capsys.readouterr().err
    assert "A_own_0_seed100.json: not a whole point file" in said and "the other points are kept" in said
    assert stamps(folder) == before
    path.write_text(json.dumps(json.loads(whole) | {"key": "of something else"}), encoding="utf-8")
    assert reproduce.main([*WORDS, "--run-dir", str(folder)]) == 2
    assert "another scenario, version or setting" in capsys.readouterr().err
    path.write_text(whole, encoding="utf-8")


def test_a_folder_of_another_scenario_or_version_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "run.json"
    whole = file.read_text(encoding="utf-8")
    record = json.loads(whole)
    record["config"]["scenario_resolved"]["A"]["capacity_slack"] = 1.7
    file.write_text(json.dumps(record), encoding="utf-8")
    assert reproduce.main([*WORDS, "--run-dir", str(folder)]) == 2
    said = capsys.readouterr().err
    assert "on another scenario: scenario_resolved.A.capacity_slack was 1.7 and is now 1.3" in said
    file.write_text(json.dumps(json.loads(whole) | {"environment_version": "v99"}), encoding="utf-8")
    assert reproduce.main([*WORDS, "--run-dir", str(folder)]) == 2
    assert "environment_version is 'v99'" in capsys.readouterr().err
    file.unlink()
    assert reproduce.main([*WORDS, "--run-dir", str(folder)]) == 2
    assert "holds results but no run.json" in capsys.readouterr().err
    file.write_text(whole, encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--models", "C"], "--models 'C': unknown model (known: A, B)"),
        (["--models", "A", "A"], "given twice: A"),
        (["--parameters", "capacity_slak"], "did you mean 'capacity_slack'?"),
        (["--seeds", "x"], "--seeds 'x'"),
        (["--jobs", "0"], "--jobs 0: must be a whole number, at least 1"),
    ],
)
def test_bad_words(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce.main(["--quick", *words, "--run-dir", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run" / "tasks").exists()


def test_a_budget_is_a_share_of_what_the_free_plan_emits() -> None:
    one = with_parameters(load_experiments(["B"]), [BUDGET])["B"].smaller()
    task = next(task for task in tasks_of(one) if task.parameter == BUDGET and task.value == 0.5)
    record = next(tasks.compute([task], threads=1))
    free, tight = record["free"], record["policies"]["joint"]
    assert tight["benefit_usd"] <= free["benefit_usd"] * (1.0 + one.mip_gap)
    assert tight["emissions_kg"] < free["emissions_kg"]
    assert set(record["policies"]) == {"joint", "no_carbon"}
