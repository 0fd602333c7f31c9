"""Cost-carbon fronts: shape, ends, prices, policies, hypervolume by hand, and the command from end to end."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.optimum import InfeasibleError
from baselines.optimum.carbon_front import (
    CostCarbonPoint,
    FrontPoint,
    FrontProgram,
    hypervolume,
    margin_below,
    nondominated,
    place_of,
    reference_of,
    uncharged,
)
from baselines.optimum.highs import Deadline
from baselines.optimum.milp import Plan, service_of, solve
from baselines.program.service_floor import meets_floor
from baselines.rules.registry import REGISTRY
from gridai_env import make_instance
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.run import run
from gridai_env.rollout.trajectory import Trajectory
from scripts import pareto as command
from scripts.runs.command import InputError
from scripts.runs.folder import read_run
from scripts.studies.policies import find_contenders
from tests.support.contest import near_actions, play
from tests.support.strategies import random_instance
from tests.support.tiny import tiny

GAP = 1e-9
PLANNERS = "mpc:perfect, mpc:day_ahead, mpc:published, mpc:persistence, mpc:own"
JOB = {"gpus": 10.0, "duration_h": 1.0, "release_h": 0.0, "deadline_h": 4.0, "value_usd": 50.0}


def coordinates(point: FrontPoint) -> tuple[float, float]:
    assert point.place is not None
    return point.place.coordinates


@pytest.fixture(scope="module", params=["energy_geography", "two_sites"])
def day(request: pytest.FixtureRequest) -> tuple[Instance, Plan, FrontProgram, list[FrontPoint]]:
    """A few hours of a world without and one with batteries, its benefit plan, and seven points."""
    hours = {"energy_geography": 2, "two_sites": 12}[request.param]
    instance = make_instance(request.param, seed=3, horizon_h=hours)
    plan = solve(instance, threads=1)
    program = FrontProgram(instance, service_of(plan), mip_gap=GAP)
    return instance, plan, program, list(program.epsilon(7))


# Shape --------------------------------------------------------------------------------------------------------------


def test_a_front_falls_and_is_convex(day: Any) -> None:
    """Tighter caps cost more, and the more the tighter they are (both worlds are linear at the optimum)."""
    points = day[3]
    assert [point.label for point in points] == [
        "least cost",
        *(f"cap {i}" for i in range(1, 6)),
        "least carbon",
    ]
    usd, kg = np.array([coordinates(point) for point in points]).T
    assert (np.diff(kg) < 0.0).all()
    slopes = -np.diff(usd) / np.diff(kg)
    assert (slopes >= -1e-9).all() and (np.diff(slopes) >= -1e-6 * slopes[1:]).all()
    for point in points:
        assert point.status == "optimal" and point.gap <= 1e-8
        assert coordinates(point)[1] <= point.cap_kg * (1 + 1e-9)


def test_the_price_of_a_cap_is_the_slope_on_both_sides(day: Any) -> None:
    points = day[3]
    for left, point, right in zip(points, points[1:], points[2:], strict=False):
        (a_usd, a_kg), (usd, kg), (b_usd, b_kg) = map(coordinates, (left, point, right))
        flat, steep = 1000.0 * (usd - a_usd) / (a_kg - kg), 1000.0 * (b_usd - usd) / (kg - b_kg)
        assert flat * (1 - 1e-6) - 1e-6 <= point.slope_usd_per_t <= steep * (1 + 1e-6) + 1e-6


def test_the_ends_are_the_two_optima(day: Any) -> None:
    instance, plan, _, points = day
    free = uncharged(instance)
    cost = solve(free, "cost", floor=plan, mip_gap=GAP, threads=1)
    carbon = solve(free, "carbon", floor=plan, mip_gap=GAP, threads=1)
    assert coordinates(points[0])[0] == pytest.approx(cost.objective_value, rel=1e-7)
    assert coordinates(points[-1])[1] == pytest.approx(carbon.objective_value, rel=1e-6)
    assert points[-1].least_kg == pytest.approx(carbon.bound, rel=1e-6)


def test_prices_lie_on_the_front_and_are_tangents(day: Any) -> None:
    """A price's optimum is the least cost under its own emissions, and no point of the front is below its line."""
    _, _, program, points = day
    for usd_per_t in (20.0, 150.0, 2000.0):
        point = program.at_price(usd_per_t)
        usd, kg = coordinates(point)
        assert coordinates(program.at_cap(kg * (1 + 1e-9)))[0] == pytest.approx(usd, rel=1e-6)
        for other in points:
            other_usd, other_kg = coordinates(other)
            assert other_usd + usd_per_t / 1e3 * other_kg >= point.bound * (1 - 1e-9)


def test_a_price_is_the_scenario_s_carbon_price(day: Any) -> None:
    """The same optimum as the program of the instance with that price in its own ledger."""
    instance, plan, program, _ = day
    free = uncharged(instance)
    priced = replace(free, params=free.params.replace(carbon_price_usd_per_kg=0.12))
    wanted = solve(priced, "cost", floor=plan, mip_gap=GAP, threads=1)
    usd, kg = coordinates(program.at_price(120.0))
    assert usd + 0.12 * kg == pytest.approx(wanted.objective_value, rel=1e-7)


def test_the_cost_leaves_out_what_carbon_is_charged(day: Any) -> None:
    """A rule that does not look at carbon stands where it stands in the same world without a carbon price."""
    charged = run(REGISTRY["local_only"](None), day[0])
    plain = run(REGISTRY["local_only"](None), uncharged(day[0]))
    place = place_of(charged)
    assert place.coordinates == pytest.approx((plain.metrics["cost_usd"], plain.emissions_kg), rel=1e-12)
    assert charged.metrics["cost_usd"] > plain.metrics["cost_usd"] * (1 + 1e-3)


def test_who_keeps_the_floor() -> None:
    """As much work of every row, and the same jobs."""
    instance = tiny(4, jobs=(JOB,), exogenous={"arrivals_gpuh": 100.0, "buy_usd_per_mwh": 50.0})
    plan = solve(instance, threads=1)
    floor, trajectory = service_of(plan), run(plan, instance, replay="flows")
    assert floor.started.sum() == 1.0 and meets_floor(floor, trajectory, slack=0.0)
    little, more = (replace(floor, served_gpuh=floor.served_gpuh * share) for share in (1 + 1e-7, 1.01))
    assert meets_floor(little, trajectory) and not meets_floor(little, trajectory, slack=0.0)
    assert not meets_floor(more, trajectory)
    assert not meets_floor(replace(floor, started=0.0 * floor.started), trajectory)


def test_where_nothing_emits_there_is_no_front() -> None:
    instance = tiny(1, exogenous={"arrivals_gpuh": 100.0, "carbon_average_kg_per_mwh": 0.0})
    with pytest.raises(ValueError, match="nothing emits carbon"):
        FrontProgram(instance, service_of(solve(instance, threads=1)))


def test_a_front_by_hand() -> None:
    """Two sites, 500 GPU-h: the home draws 100 USD/MWh at 100 kg/MWh, the other 40 at 500."""
    exogenous = {
        "arrivals_gpuh": 500.0,
        "buy_usd_per_mwh": np.array([[100.0, 40.0]]),
        "carbon_average_kg_per_mwh": np.array([[100.0, 500.0]]),
    }
    free = {"relocation_usd_per_gpuh": 1e-9, "warm_usd_per_gpuh": 1e-9}
    instance = tiny(1, sites=({}, {}), classes=(free,), exogenous=exogenous)
    program = FrontProgram(instance, service_of(solve(instance, threads=1)))
    idle_mwh, work_mwh = 0.25, 500 * 0.00125
    dear, clean = idle_mwh * 140 + work_mwh * 100, idle_mwh * 600 + work_mwh * 100
    cheap, dirty = idle_mwh * 140 + work_mwh * 40, idle_mwh * 600 + work_mwh * 500
    assert coordinates(program.least_cost()) == pytest.approx((cheap, dirty), rel=1e-6)
    assert coordinates(program.least_carbon()) == pytest.approx((dear, clean), rel=1e-6)
    # 60 USD per 400 kg: 150 USD/t is the price at which the two are equal.
    assert program.at_cap((clean + dirty) / 2).slope_usd_per_t == pytest.approx(150.0, rel=1e-5)
    assert coordinates(program.at_price(149.0))[1] == pytest.approx(dirty)
    assert coordinates(program.at_price(151.0))[1] == pytest.approx(clean)


# Random worlds ------------------------------------------------------------------------------------------------------


def fronts(seeds: range) -> Any:
    """Random worlds in which something emits: instance, benefit plan, program."""
    for seed in seeds:
        instance = random_instance(seed)
        plan = solve(instance, mip_gap=GAP, threads=1)
        try:
            yield seed, instance, plan, FrontProgram(instance, service_of(plan), mip_gap=GAP)
        except ValueError as error:
            assert "nothing emits" in str(error)


def test_yes_no_decisions_reach_the_same_ends() -> None:
    """Relaxing, rounding, fixing and branching on one loaded program = the solver on a fresh one."""
    choices = 0
    for seed, instance, plan, program in fronts(range(40, 52)):
        wanted = solve(uncharged(instance), "cost", floor=plan, mip_gap=GAP, threads=1)
        size = max(abs(wanted.objective_value), 1.0)
        point = program.least_cost()
        assert coordinates(point)[0] == pytest.approx(wanted.objective_value, abs=1e-6 * size), seed
        assert point.bound <= wanted.objective_value + 1e-6 * size, seed
        choices += len(program.solver.choices) > 0
        after = program.at_cap(coordinates(program.least_carbon())[1] * 1.1)
        again = FrontProgram(instance, service_of(plan), mip_gap=GAP).at_cap(after.cap_kg)
        assert coordinates(after)[0] == pytest.approx(coordinates(again)[0], abs=1e-6 * size), seed
    assert choices >= 5


def mixed(seed: int) -> tuple[Instance, Plan, FrontProgram]:
    """A random world with yes/no decisions, and its program."""
    instance = random_instance(seed)
    plan = solve(instance, mip_gap=GAP, threads=1)
    program = FrontProgram(instance, service_of(plan), mip_gap=GAP)
    assert len(program.solver.choices)
    return instance, plan, program


@pytest.mark.parametrize("seed", [9, 10, 46])
def test_a_cap_that_nothing_keeps_leaves_nothing_behind(seed: int) -> None:
    """Below the least emissions, above those of the relaxed program; then another cap, as on a fresh program."""
    instance, plan, program = mixed(seed)
    live = program.solver.live
    live.set_costs(np.arange(len(program.kg)), program.kg)
    live.set_row_bounds([program.cap_row], -np.inf, np.inf)
    loose_kg = float(program.kg @ live.solve().values) + program.kg_0
    least_kg, most_kg = program.least_carbon().least_kg, coordinates(program.least_cost())[1]
    assert loose_kg < least_kg * (1 - 1e-3)
    with pytest.raises(InfeasibleError):
        program.at_cap((loose_kg + least_kg) / 2)
    after = program.at_cap((least_kg + most_kg) / 2)
    fresh = FrontProgram(instance, service_of(plan), mip_gap=GAP).at_cap(after.cap_kg)
    assert coordinates(after) == pytest.approx(coordinates(fresh), rel=1e-6)
    assert after.slope_usd_per_t == pytest.approx(fresh.slope_usd_per_t, rel=1e-6, abs=1e-6)
    assert not live.is_mip


def test_branching_keeps_the_better_plan_with_its_own_dual(monkeypatch: pytest.MonkeyPatch) -> None:
    """What rounding found stands, dual included, where branch and bound ends above it."""
    _, _, program = mixed(9)
    program.at_cap((coordinates(program.least_carbon())[1] + 6000.0) / 2)
    solver = program.solver
    found = solver.solve(mip_gap=GAP)
    assert found.objective is not None and found.row_dual is not None
    better = replace(found, objective=found.objective - 1.0, row_dual=found.row_dual - 123.0)
    monkeypatch.setattr(solver, "rounded_first", lambda relaxed, clock, mip_gap: better)
    best = solver.whole_plan(replace(found, bound=found.bound - 2.0), Deadline(None), mip_gap=GAP)
    assert (best.objective, best.status) == (better.objective, "optimal")
    assert best.row_dual is better.row_dual


def test_a_plan_of_branch_and_bound_that_cannot_be_fixed_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """It meets its rows within tolerances only, or no time is left: still a plan, of unknown dual."""
    instance, plan, program = mixed(9)
    wanted = program.least_cost()
    monkeypatch.setattr(program.solver, "solve_fixed", lambda values, limit_s: None)
    point = program.at_cap(wanted.place.emissions_kg * 0.9)  # type: ignore[union-attr]
    monkeypatch.undo()
    fresh = FrontProgram(instance, service_of(plan), mip_gap=GAP).at_cap(point.cap_kg)
    assert point.status == "optimal" and np.isnan(point.slope_usd_per_t)
    assert coordinates(point)[0] == pytest.approx(coordinates(fresh)[0], rel=1e-6)


def test_no_policy_that_keeps_the_floor_lies_beyond_the_front() -> None:
    compared = 0
    for seed, instance, plan, program in fronts(range(9)):
        points = program.sweep(4, (0.0, 60.0, 600.0))
        floor = service_of(plan)
        policies: list[Any] = [plan, *(rule(instance.compiled) for rule in REGISTRY.values())]
        for policy in policies:
            trajectory = run(policy, instance)
            if meets_floor(floor, trajectory, slack=0.0):
                compared += 1
                place, size = place_of(trajectory), scale_usd(trajectory)
                assert margin_below(points, place, size) >= -1e-6, (seed, policy)
        for point in points:
            assert point.plan is not None and point.place is not None
            others = [other for other in points if other is not point]
            size = scale_usd(run(point.plan, program.instance, replay="flows"))
            assert margin_below(others, point.place, size) >= -1e-6, (seed, point.label)
    assert compared >= 12


def scale_usd(trajectory: Trajectory) -> float:
    return sum(float(np.abs(term).sum()) for term in trajectory.outcome.terms_usd.values())


def test_noisy_plans_that_keep_the_floor_lie_above() -> None:
    rng = np.random.default_rng(0)
    seen = 0
    for seed, instance, plan, program in fronts(range(70, 73)):
        points = program.sweep(3, (100.0,))
        actions = near_actions(rng, plan.actions.astype(float), 8)
        played = play(instance, actions)
        kept = played.keeps(service_of(plan))
        for i in np.flatnonzero(kept):
            seen += 1
            cost_usd = played.objective(uncharged(instance), "cost")[i]
            charged = sum(-played.terms_usd[name][:, i].sum() for name in ("carbon_price", "carbon_excess"))
            kg = played.objective(uncharged(instance), "carbon")[i]
            place = CostCarbonPoint(cost_usd - charged, kg, 0.0, 0.0)
            assert margin_below(points, place, float(played.scale_usd[i])) >= -1e-6, seed
    assert seen >= 3


def test_the_path_of_huge_programs_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interior point from the start each time = the loaded program: neither is below what the other proves."""
    loaded = [
        (floored, [p.at_cap(c) for c in caps(p)], p.at_price(90.0)) for *floored, p in fronts(range(40, 44))
    ]
    monkeypatch.setattr("baselines.optimum.relax_and_round.HUGE_ROWS", 0)
    for (seed, instance, plan), capped, priced in loaded:
        program = FrontProgram(instance, service_of(plan), mip_gap=1e-4)
        assert program.solver.is_huge
        for a, b in [(a, program.at_cap(a.cap_kg)) for a in capped] + [(priced, program.at_price(90.0))]:
            size = max(abs(value(a)), scale_usd(run(plan, instance)), 1.0)
            assert max(a.bound, b.bound) <= min(value(a), value(b)) + 1e-6 * size, seed
            assert b.gap <= 1e-4 + 1e-6 * size / max(abs(value(b)), 1e-9)
            assert coordinates(b)[1] <= b.cap_kg * (1 + 1e-6) + 1e-6


def caps(program: FrontProgram) -> list[float]:
    """No cap, and one in the middle."""
    ends = [coordinates(point)[1] for point in (program.least_cost(), program.least_carbon())]
    return [np.inf, sum(ends) / 2]


def value(point: FrontPoint) -> float:
    usd, kg = coordinates(point)
    return usd + (0.0 if point.method == "epsilon" else point.price_usd_per_t / 1e3 * kg)


def test_a_point_without_time_keeps_its_place_in_the_table(day: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("baselines.optimum.highs.Deadline.left_s", lambda clock: 1e-6)
    program = FrontProgram(day[0], service_of(day[1]), time_limit_s=1e-6)
    point = program.least_cost()
    assert (point.status, point.place, point.gap) == ("time_limit", None, np.inf)
    assert program.least_carbon().place is None and len(list(program.epsilon(5))) == 2


# Hypervolume --------------------------------------------------------------------------------------------------------


def places(*pairs: tuple[float, float]) -> list[CostCarbonPoint]:
    return [CostCarbonPoint(usd, kg, 0.0, 0.0) for usd, kg in pairs]


def test_hypervolume_by_hand() -> None:
    """Steps of one: 1 x 1 + 2 x 1 + 3 x 1; what lies beyond the reference point or behind others adds nothing."""
    stairs = places((1.0, 3.0), (2.0, 2.0), (3.0, 1.0))
    assert hypervolume(stairs, (4.0, 4.0)) == pytest.approx(6.0)
    assert hypervolume([*stairs, *places((3.5, 3.5), (5.0, 0.5))], (4.0, 4.0)) == pytest.approx(6.0)
    assert hypervolume(places((-2.0, 1.0)), (1.0, 2.0)) == pytest.approx(3.0)
    assert hypervolume([], (1.0, 1.0)) == 0.0 and hypervolume(places((2.0, 2.0)), (1.0, 1.0)) == 0.0


def test_hypervolume_against_counting() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        points = rng.integers(0, 10, (5, 2)).astype(float)
        cells = [(x + 0.5, y + 0.5) for x in range(10) for y in range(10)]
        covered = sum(any(a <= x and b <= y for a, b in points) for x, y in cells)
        assert hypervolume(places(*map(tuple, points)), (10.0, 10.0)) == pytest.approx(covered)


def test_last_resorts_weigh_in_both_coordinates() -> None:
    assert hypervolume([CostCarbonPoint(1.0, 1.0, 1.0, 2.0)], (4.0, 4.0)) == pytest.approx(2.0 * 1.0)


def test_what_nothing_else_beats() -> None:
    mixed = places((1.0, 3.0), (2.0, 2.0), (2.0, 3.0), (3.0, 1.0), (2.0, 2.0))
    assert nondominated(mixed) == [True, True, False, True, False]
    assert nondominated([]) == []


def test_the_reference_point_is_the_worst_and_a_bit() -> None:
    front = places((10.0, 300.0), (30.0, 100.0))
    assert reference_of(front, places((20.0, 500.0))[0]) == pytest.approx((30.0 + 1.0, 500.0 + 20.0))


# The command --------------------------------------------------------------------------------------------------------

BASE = ["--scenario", "two_sites", "--horizon-h", "6", "--points", "4", "--jobs", "1"]
PRICES = ["--prices", "0", "100"]
LABELS = [
    "least cost",
    "cap 1",
    "cap 2",
    "least carbon",
    "0 USD/t",
    "100 USD/t",
    "milp",
    "local_only",
    "greedy",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished front of one episode with two rules."""
    path = tmp_path_factory.mktemp("front") / "run"
    assert command.main([*BASE, *PRICES, "--seeds", "3", "--policies", "greedy", "--run-dir", str(path)]) == 0
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_writes_tables_and_curves(folder: Path) -> None:
    rows = rows_of(folder / "front.csv")
    assert [row["label"] for row in rows] == LABELS
    first = "seed method label carbon_price_usd_per_t cap_kg cost_usd emissions_kg bound gap meets_floor status seconds"
    assert list(rows[0])[:12] == first.split()
    assert {row["method"] for row in rows} == {"epsilon", "price", "policy"}
    kg = [float(row["emissions_kg"]) for row in rows[:4]]
    assert kg == sorted(kg, reverse=True)
    trajectory = run(REGISTRY["greedy"](None), make_instance("two_sites", seed=3, horizon_h=6.0))
    assert float(rows[-1]["emissions_kg"]) == pytest.approx(trajectory.emissions_kg)
    assert {path.name for path in (folder / "tensorboard").iterdir()} >= {"epsilon", "price", "greedy"}
    record = read_run(folder, "front")
    assert record["finished"] is True and record["config"]["scenario_resolved"]["horizon_h"] == 6.0


def test_hypervolumes_are_stated_with_their_reference_point(folder: Path) -> None:
    rows = rows_of(folder / "hypervolume.csv")
    assert [row["set"] for row in rows] == ["epsilon", "price", "policies", "milp", "local_only", "greedy"]
    front = [row for row in rows_of(folder / "front.csv") if row["method"] == "epsilon"]
    points = places(*((float(row["cost_usd"]), float(row["emissions_kg"])) for row in front))
    reference = float(rows[0]["reference_cost_usd"]), float(rows[0]["reference_emissions_kg"])
    assert float(rows[0]["hypervolume"]) == pytest.approx(hypervolume(points, reference))
    assert float(rows[0]["share_of_epsilon"]) == 1.0
    assert all(float(row["share_of_epsilon"] or 0.0) <= 1.5 for row in rows)


def test_a_killed_run_goes_on_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    words = [*BASE, *PRICES, "--seeds", "3", "--policies", "greedy", "--run-dir", str(folder)]
    before = (folder / "front.csv").read_bytes()
    files = {path: path.stat().st_mtime_ns for path in (folder / "points").iterdir()}
    lost = next(path for path in files if "cap_2" in path.name)
    lost.unlink()
    assert command.main(words) == 0
    after = {path: path.stat().st_mtime_ns for path in (folder / "points").iterdir()}
    assert {path for path in files if files[path] != after[path]} == {lost}
    old, new = (
        list(csv.DictReader(text.decode().splitlines()))
        for text in (before, (folder / "front.csv").read_bytes())
    )
    for a, b in zip(old, new, strict=True):
        assert float(a["cost_usd"]) == pytest.approx(float(b["cost_usd"]), rel=1e-7)
    assert not [path for path in (folder / "points").iterdir() if path.name.startswith(".")]


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "points").iterdir()}


def changed(before: dict[str, int], folder: Path) -> set[str]:
    """Point files written since."""
    return {name for name, time_ns in times(folder).items() if before.get(name) != time_ns}


def test_no_front_holds_two_floors(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another benefit plan sets another service: all that rests on it is computed again; the same plan: nothing."""
    there = shutil.copytree(folder, tmp_path / "there")
    words = [*BASE, *PRICES, "--seeds", "3", "--policies", "greedy", "--run-dir"]
    optimum = next(path for path in (there / "points").iterdir() if "_optimum_" in path.name)
    before = times(there)
    optimum.unlink()
    assert command.main([*words, str(there)]) == 0
    assert changed(before, there) == {optimum.name}

    def less(plan: Plan) -> Any:
        floor = service_of(plan)
        return replace(floor, served_gpuh=floor.served_gpuh * 0.9)

    monkeypatch.setattr("scripts.studies.carbon.points.service_of", less)
    before = times(there)
    optimum.unlink()
    assert command.main([*words, str(there)]) == 0
    assert changed(before, there) == set(before)
    assert command.main([*words, str(tmp_path / "once")]) == 0
    for old, new in zip(rows_of(there / "front.csv"), rows_of(tmp_path / "once" / "front.csv"), strict=True):
        assert float(old["cost_usd"]) == pytest.approx(float(new["cost_usd"]), rel=1e-7)
    records = [json.loads(path.read_text()) for path in (there / "points").iterdir()]
    floors = {r["under"] for r in records if r["row"]["label"].split()[0] not in ("milp", "cap")}
    assert len(floors) == 1


def test_more_time_is_for_points_that_ran_out_of_it(folder: Path, tmp_path: Path) -> None:
    """Another time limit leaves finished points alone; what stopped is solved again where more is allowed."""
    there = shutil.copytree(folder, tmp_path / "there")
    words = [
        *BASE,
        *PRICES,
        "--seeds",
        "3",
        "--policies",
        "greedy",
        "--run-dir",
        str(there),
        "--time-limit-s",
    ]
    before = times(there)
    assert command.main([*words, "400"]) == 0 and not changed(before, there)
    path = next(path for path in (there / "points").iterdir() if "cap_1" in path.name)
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"row": record["row"] | {"status": "time_limit"}}))
    before = times(there)
    for limit_s, again in (("200", set()), ("300", set()), ("301", {path.name}), ("400", set())):
        assert command.main([*words, limit_s]) == 0
        assert changed(before, there) == again, limit_s
        before = times(there)
    assert json.loads(path.read_text())["row"]["status"] == "optimal"


def test_caps_lie_between_the_ends_at_hand(folder: Path, tmp_path: Path) -> None:
    """An end that had no plan in time leaves no caps; once it has one, they follow."""
    there = shutil.copytree(folder, tmp_path / "there")
    words = [*BASE, *PRICES, "--seeds", "3", "--policies", "greedy", "--run-dir", str(there)]
    names = {word: next(n for n in times(there) if word in n) for word in ("least_carbon", "cap_1", "cap_2")}
    path = there / "points" / names["least_carbon"]
    record = json.loads(path.read_text())
    lost = dict.fromkeys(("cost_usd", "emissions_kg", "last_resort_usd", "last_resort_kg"), float("nan"))
    path.write_text(json.dumps(record | {"row": record["row"] | lost | {"status": "time_limit"}}))
    before = times(there)
    assert command.main(words) == 0
    assert changed(before, there) == {names["cap_1"], names["cap_2"]}
    assert "cap 1" not in {row["label"] for row in rows_of(there / "front.csv")}
    assert command.main([*words, "--time-limit-s", "400"]) == 0
    assert [row["label"] for row in rows_of(there / "front.csv")] == LABELS


def test_a_half_written_point_is_one_clear_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = next(path for path in (folder / "points").iterdir() if "cap_1" in path.name)
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    words = [*BASE, *PRICES, "--seeds", "3", "--policies", "greedy", "--run-dir", str(folder)]
    assert command.main(words) == 2
    assert "not a whole point file" in capsys.readouterr().err
    path.write_text(json.dumps(json.loads(whole) | {"key": "another"}))
    assert command.main(words) == 2
    assert "another scenario, version or setting" in capsys.readouterr().err
    path.write_text(whole)
    assert command.main(words) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--points", "1"], "--points 1: must be a whole number, at least 2"),
        (["--prices", "50", "20"], "--prices 50 20: must be ascending"),
        (["--prices", "-1"], "must be ascending, each once, >= 0"),
        (["--policies", "milp"], "is there anyway"),
        (["--policies", "nobody"], "'nobody': unknown"),
        (["--reference", "1", "1"], "must be worse than every point of the front in both"),
        (["--latency-scale", "0.5"], "holds the front of another scenario"),
    ],
)
def test_bad_input(folder: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    prices = [] if "--prices" in words else PRICES
    given = [*BASE, *prices, "--seeds", "3", "--run-dir", str(folder), *words]
    assert command.main(given) == 2
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err


@pytest.mark.parametrize("words", [["nan", "1e9"], ["1e9", "inf"]])
def test_a_reference_point_is_finite(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([*BASE, *PRICES, "--run-dir", str(tmp_path / "run"), "--reference", *words]) == 2
    said = capsys.readouterr()
    assert f"--reference {words[0]}" in said.err.replace("1e+09", "1e9")
    assert "must be two finite numbers" in said.err and said.err.count("\n") == 1
    assert not said.out and not list(tmp_path.iterdir())  # nothing was solved


@pytest.mark.parametrize(
    ("name", "hint", "known"),
    [
        ("mpc", "", PLANNERS),
        (
            "mpc:day_ahed",
            " (did you mean 'mpc:day_ahead'?)",
            PLANNERS,
        ),
        ("mpc:foo", "", PLANNERS),
        ("variant:foo", "", "variant:"),
        ("greedi", " (did you mean 'greedy'?)", "local_only"),
        ("xyzzy", "", "local_only"),
    ],
)
def test_an_unknown_policy_names_those_of_its_kind_once(name: str, hint: str, known: str) -> None:
    with pytest.raises(InputError) as error:
        find_contenders([name], make_instance("two_sites", seed=0, horizon_h=6.0).compiled)
    text = str(error.value)
    assert text.startswith(f"policy {name!r}: unknown{hint}; known: {known}") and text.count("known: ") == 1
