"""Shadow prices against hand calculations, against changed limits, and against the theory of duality."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.optimum import InfeasibleError
from baselines.optimum.milp import Plan, service_of, solve
from baselines.optimum.relax_and_round import ProgramSolver
from baselines.optimum.shadow_prices import SITE_PRICES, ShadowPrices, decisions, shadow_prices
from baselines.program.episode import build
from gridai_env import make_instance
from gridai_env.episodes.instance import Instance
from gridai_env.world.state import Exogenous
from scripts import solve as command
from tests.support.strategies import random_instance
from tests.support.tiny import BATTERY, tiny

# One GPU-h of work in the tiny world takes 1.25 * 1 kW for an hour.
MWH_PER_GPUH = 0.00125


def priced(instance: Instance, objective: str = "benefit") -> ShadowPrices:
    return shadow_prices(solve(instance, objective, mip_gap=0.0, threads=1))  # type: ignore[arg-type]


# By hand ------------------------------------------------------------------------------------------------------------


def test_an_accelerator_earns_revenue_and_saves_the_refusal() -> None:
    """1200 GPU-h arrive, 1000 accelerators serve: one more hour earns 0.5 + 0.25 less its energy."""
    prices = priced(tiny(1, exogenous={"arrivals_gpuh": 1200.0, "buy_usd_per_mwh": 100.0}))
    assert prices.capacity_usd_per_gpuh == pytest.approx(0.75 - 100.0 * MWH_PER_GPUH)
    assert prices.energy_usd_per_mwh == pytest.approx(100.0)
    assert prices.import_limit_usd_per_mwh == 0.0
    assert prices.queue_usd_per_gpuh == pytest.approx(0.25)  # what may wait for ever is not refused


def test_a_quarter_hour_is_priced_per_hour() -> None:
    """In steps of a quarter of an hour, prices are per accelerator-hour and MWh all the same."""
    prices = priced(tiny(1, dt_h=0.25, exogenous={"arrivals_gpuh": 300.0, "buy_usd_per_mwh": 100.0}))
    assert prices.capacity_usd_per_gpuh == pytest.approx(0.75 - 100.0 * MWH_PER_GPUH)
    assert prices.energy_usd_per_mwh == pytest.approx(100.0)


def test_a_tight_line_is_worth_the_work_behind_it() -> None:
    """Idle accelerators take 0.25 MW of the line's 1 MW; 0.75 MW serve 600 GPU-h, 200 are refused."""
    exogenous = {"arrivals_gpuh": 800.0, "buy_usd_per_mwh": 100.0, "import_limit_mw": 1.0}
    prices = priced(tiny(1, exogenous=exogenous))
    assert prices.energy_usd_per_mwh == pytest.approx(0.75 / MWH_PER_GPUH)
    assert prices.import_limit_usd_per_mwh == pytest.approx(0.75 / MWH_PER_GPUH - 100.0)
    assert prices.capacity_usd_per_gpuh == 0.0


def test_a_line_that_is_cut_has_a_price() -> None:
    """Where nothing may be imported, one MW more is worth what the last resort costs, less the energy's price."""
    instance = tiny(1, exogenous={"arrivals_gpuh": 0.0, "buy_usd_per_mwh": 100.0, "import_limit_mw": 0.0})
    shed_usd_per_mwh = instance.params.shed_usd_per_mwh[0]
    assert priced(instance).import_limit_usd_per_mwh == pytest.approx(shed_usd_per_mwh - 100.0)


def test_a_deadline_is_worth_the_cheaper_hour_behind_it() -> None:
    """Work may wait one hour (100 USD/MWh); with one hour more it would see 40."""
    arrivals = np.array([500.0, 0.0, 0.0]).reshape(3, 1, 1)
    exogenous = {"arrivals_gpuh": arrivals, "buy_usd_per_mwh": np.array([[200.0], [100.0], [40.0]])}
    prices = priced(tiny(3, classes=({"wait_h": 1.0},), exogenous=exogenous))
    # One GPU-h left at the end of the first step must still be done in the second.
    assert prices.queue_usd_per_gpuh[:, 0, 0] == pytest.approx([0.0, 60.0 * MWH_PER_GPUH, 0.0])


def test_a_kg_of_budget_is_worth_the_work_that_it_allows() -> None:
    """400 kg/MWh and excess at 10 USD/kg: work is refused sooner.  A GPU-h emits 0.5 kg and is worth 0.75 USD."""
    exogenous = {"arrivals_gpuh": 800.0, "buy_usd_per_mwh": 0.0, "carbon_average_kg_per_mwh": 400.0}
    instance = tiny(2, exogenous=exogenous, carbon_budget_kg=600.0, carbon_excess_usd_per_t=10_000.0)
    prices = priced(instance)
    assert float(prices.carbon_usd_per_kg[0]) == pytest.approx(0.75 / (400.0 * MWH_PER_GPUH), rel=0.1)
    assert (np.diff(prices.carbon_usd_per_kg) <= 1e-9).all()


@pytest.mark.parametrize("buy_usd_per_mwh", [10.0, -10.0])
def test_stored_energy_is_worth_the_dear_hour(buy_usd_per_mwh: float) -> None:
    """A MWh stored gives 0.5 MWh at 300 USD/MWh, less wear of 2 on each MWh charged and discharged.

    Where consuming pays, the battery's direction is a yes/no decision and its limit stands in two rows.
    """
    exogenous = {"arrivals_gpuh": 0.0, "buy_usd_per_mwh": np.array([[buy_usd_per_mwh], [300.0]])}
    battery = {**BATTERY, "initial_share": 0.0, "power_mw": 0.2}
    prices = priced(tiny(2, sites=({"battery": battery},), exogenous=exogenous))
    assert prices.stored_energy_usd_per_mwh[0, 0] == pytest.approx(0.5 * (300.0 - 2.0))
    # A MW more of charging stores 0.8 MWh in an hour.
    worth = 0.8 * 149.0 - 2.0 - buy_usd_per_mwh
    assert prices.charge_limit_usd_per_mwh[:, 0] == pytest.approx([worth, 0.0])
    assert (prices.discharge_limit_usd_per_mwh == 0.0).all()
    assert (prices.battery_capacity_usd_per_mwh == 0.0).all()


def test_the_service_floor_has_a_price_in_a_cost_plan() -> None:
    prices = priced(tiny(1, exogenous={"arrivals_gpuh": 800.0, "buy_usd_per_mwh": 100.0}), "cost")
    # Serving one GPU-h costs its energy and saves the penalty of refusing it.
    assert prices.floor_usd_per_gpuh == pytest.approx(max(0.0, 100.0 * MWH_PER_GPUH - 0.25))
    dear = priced(tiny(1, exogenous={"arrivals_gpuh": 800.0, "buy_usd_per_mwh": 400.0}), "cost")
    assert dear.floor_usd_per_gpuh == pytest.approx(400.0 * MWH_PER_GPUH - 0.25)


# Changed limits -----------------------------------------------------------------------------------------------------


def fixed_optimum(instance: Instance, plan: Plan) -> float:
    """The objective (to be raised) of the plan's program on another instance, yes/no decisions kept."""
    floor = None if plan.objective == "benefit" else service_of(plan)
    program = build(instance, plan.objective, floor, priced=True)
    result = ProgramSolver(program).solve_fixed(decisions(plan, program))
    if result is None:
        raise InfeasibleError("with the decisions of the plan")
    assert result.objective is not None
    return -result.objective


def changed(instance: Instance, name: str, where: tuple[int, ...], by: float) -> Instance:
    """The instance with one number of ``params`` or ``exogenous`` moved."""
    record = "exogenous" if name in Exogenous.names() else "params"
    values = np.array(getattr(getattr(instance, record), name), dtype=float)
    values[where] += by
    return replace(instance, **{record: getattr(instance, record).replace(**{name: values})})


def limits_of(instance: Instance, prices: ShadowPrices) -> Iterator[tuple[str, tuple[int, ...], float]]:
    """Numbers of an instance that are limits: name, place, and what one unit more should earn [USD]."""
    p, dt_h = instance.params, instance.params.dt_h
    for k in range(len(p.gpus)):
        for t in range(instance.steps):
            yield "import_limit_mw", (t, k), dt_h * prices.import_limit_usd_per_mwh[t, k]
            yield "export_limit_mw", (t, k), dt_h * prices.export_limit_usd_per_mwh[t, k]
        if p.battery_max_mwh[k] > 0.0:
            yield "battery_max_mwh", (k,), prices.battery_capacity_usd_per_mwh[:, k].sum()
            yield "charge_limit_mw", (k,), dt_h * prices.charge_limit_usd_per_mwh[:, k].sum()
            yield "discharge_limit_mw", (k,), dt_h * prices.discharge_limit_usd_per_mwh[:, k].sum()
        if p.generator_max_mw[k] > 0.0:
            yield "generator_max_mw", (k,), dt_h * prices.generator_limit_usd_per_mwh[:, k].sum()
    for place in np.ndindex(prices.line_usd_per_mwh.shape):
        yield "line_mw", place, dt_h * prices.line_usd_per_mwh[place]
    for place in np.ndindex(prices.queue_usd_per_gpuh.shape):
        yield "queue_limit_gpuh", place, prices.queue_usd_per_gpuh[place]
    if p.has_carbon_budget:
        yield "carbon_budget_kg", (), float(prices.carbon_usd_per_kg[0])
    if not p.has_jobs:
        yield from accelerators_of(instance, prices)


def accelerators_of(instance: Instance, prices: ShadowPrices) -> Iterator[tuple[str, tuple[int, ...], float]]:
    """One accelerator more in service: it may be busy, and idles at the price of energy."""
    p, exo = instance.params, instance.exogenous
    idle_mw = exo.pue * p.idle_kw_per_gpu / 1000.0
    worth = p.dt_h * (
        p.utilisation_limit * prices.capacity_usd_per_gpuh - idle_mw * prices.energy_usd_per_mwh
    )
    # Water evaporates with IT energy and is billed apart.
    # Power modes spread the same work over more of them.
    worth += p.dt_h * np.nan_to_num(prices.modes_usd_per_gpuh)
    worth -= p.dt_h * p.idle_kw_per_gpu / 1000.0 * p.site_water_l_per_mwh * p.water_price_usd_per_l
    for place in np.ndindex(worth.shape):
        yield "available_gpus", place, worth[place]


def bracket(
    instance: Instance, plan: Plan, name: str, where: tuple[int, ...], base: float
) -> tuple[float, float]:
    """What a little more of a limit earns and a little less loses, per unit; infinite where less is impossible."""
    record = instance.exogenous if name in Exogenous.names() else instance.params
    value = float(np.asarray(getattr(record, name))[where])
    step = max(1e-3 * abs(value), 1e-4)
    more = (fixed_optimum(changed(instance, name, where, step), plan) - base) / step
    if value < step:
        return more, np.inf
    try:
        less = (base - fixed_optimum(changed(instance, name, where, -step), plan)) / step
    except (InfeasibleError, ValueError):
        less = np.inf
    return more, less


WORLDS = 16


def test_prices_lie_between_a_little_more_and_a_little_less() -> None:
    """The objective is concave in each limit: what more earns <= price <= what less loses; mostly all are equal."""
    seen: dict[str, int] = {}
    sharp = total = 0
    for seed in range(WORLDS):
        instance = with_spare_gpus(random_instance(seed))
        plan = solve(instance, mip_gap=0.0, threads=1)
        prices = shadow_prices(plan)
        base = fixed_optimum(instance, plan)
        for name, where, price in chosen(instance, prices, np.random.default_rng([seed, 9])):
            more, less = bracket(instance, plan, name, where, base)
            slack = 1e-4 * max(abs(price), 1.0) + 1e-6 * abs(base)
            assert more - slack <= price <= less + slack, (seed, name, where, more, price, less)
            total += 1
            sharp += abs(price - more) <= slack
            seen[name] = seen.get(name, 0) + (price > 1e-6)
    assert sharp > 0.7 * total, (sharp, total)
    assert all(count >= 2 for count in seen.values()), seen


def with_spare_gpus(instance: Instance) -> Instance:
    """Nameplates a little above what is available, so that availability may be raised."""
    if instance.params.has_jobs:
        return instance
    return replace(instance, params=instance.params.replace(gpus=instance.params.gpus + 10.0))


def chosen(
    instance: Instance, prices: ShadowPrices, rng: np.random.Generator
) -> list[tuple[str, tuple[int, ...], float]]:
    """For each kind of limit the dearest place and one by chance."""
    by_name: dict[str, list[tuple[str, tuple[int, ...], float]]] = {}
    for entry in limits_of(instance, prices):
        by_name.setdefault(entry[0], []).append(entry)
    out = []
    for entries in by_name.values():
        dearest = max(entries, key=lambda entry: entry[2])
        out += [dearest] if dearest[2] > 1e-6 else []
        out.append(entries[int(rng.integers(len(entries)))])
    return out


# Duality ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["two_sites", "microgrid_prosumer"])
def day(request: pytest.FixtureRequest) -> tuple[Plan, ShadowPrices]:
    """A shipped scenario's plan (one without yes/no decisions, one with) and its prices."""
    plan = solve(make_instance(request.param, seed=2, horizon_h=12), mip_gap=1e-2, threads=1)
    return plan, shadow_prices(plan)


def test_prices_and_limits_add_up_to_the_objective(day: tuple[Plan, ShadowPrices]) -> None:
    plan, prices = day
    assert prices.dual_usd == pytest.approx(plan.objective_value, rel=1e-9)


def test_only_limits_that_bind_have_a_price(day: tuple[Plan, ShadowPrices]) -> None:
    plan, prices = day
    flows, exo, p = plan.flows, plan.instance.exogenous, plan.instance.params
    assert flows is not None
    pairs: list[tuple[Any, Any, Any]] = [
        (prices.import_limit_usd_per_mwh, flows.import_mw, exo.import_limit_mw),
        (prices.export_limit_usd_per_mwh, flows.export_mw, exo.export_limit_mw),
        (prices.charge_limit_usd_per_mwh, flows.charge_mw, p.charge_limit_mw),
        (prices.discharge_limit_usd_per_mwh, flows.discharge_mw, p.discharge_limit_mw),
    ]
    for price, flow, limit in pairs:
        binds = flow >= np.broadcast_to(limit, flow.shape) * (1 - 1e-6)
        assert (np.nan_to_num(price)[~binds] <= 1e-9).all()
    served = flows.served_gpuh.sum((1, 2)) / (p.speed * p.dt_h)
    assert (prices.capacity_usd_per_gpuh[served < 0.5 * p.utilisation_limit * exo.available_gpus] >= 0).all()


def test_the_table_has_a_column_per_price_and_place(day: tuple[Plan, ShadowPrices], tmp_path: Path) -> None:
    plan, prices = day
    table, compiled = prices.table(), plan.instance.compiled
    names = table.dtype.names or ()
    assert len(table) == plan.instance.steps and names[:2] == ("step", "time_utc")
    np.testing.assert_array_equal(
        table[f"energy_usd_per_mwh/{compiled.site_names[1]}"], prices.energy_usd_per_mwh[:, 1]
    )
    for name in SITE_PRICES:
        for k, site in enumerate(compiled.site_names):
            assert (f"{name}/{site}" in names) == (not np.isnan(getattr(prices, name)[0, k]))
    assert all(np.isfinite(table[name]).all() for name in names if name != "time_utc")


def test_plans_without_prices_are_refused() -> None:
    instance = tiny(1)
    plan = solve(instance, threads=1)
    with pytest.raises(ValueError, match="not carbon"):
        shadow_prices(replace(plan, objective="carbon"))
    with pytest.raises(ValueError, match="has no flows"):
        shadow_prices(replace(plan, flows=None))


def test_interior_point_prices_agree_where_there_is_one(
    day: tuple[Plan, ShadowPrices], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Very large programs take another path: the same objective, and nearly everywhere the same prices."""
    plan, prices = day
    monkeypatch.setattr("baselines.optimum.shadow_prices.HUGE_ROWS", 0)
    other = shadow_prices(plan)
    assert other.dual_usd == pytest.approx(prices.dual_usd, rel=1e-5)
    same = np.isclose(other.energy_usd_per_mwh, prices.energy_usd_per_mwh, rtol=1e-2, atol=1e-2)
    assert same.mean() > 0.9


# The command --------------------------------------------------------------------------------------------------------

COMMAND = ["--scenario", "two_sites", "--horizon-h", "6", "--threads", "1"]


def test_the_command_writes_prices_beside_the_schedule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "prices.csv"
    words = [*COMMAND, "--seed", "3", "--carbon-budget-share", "0.9", "--shadow-prices", str(path)]
    assert command.main(words) == 0
    out = capsys.readouterr().out
    free = solve(make_instance("two_sites", seed=3, horizon_h=6), threads=1)
    assert free.emissions_kg is not None and f"0.9 of the {free.emissions_kg:,.0f} kg" in out
    assert "limits that bind" in out and "carbon_usd_per_kg" in out
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 and float(rows[0]["carbon_usd_per_kg"]) > 0.0
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shadow-prices", "prices.txt"], "--shadow-prices 'prices.txt': the name must end in .csv"),
        (
            ["--shadow-prices", "p.csv", "--objective", "carbon"],
            "use --objective benefit or cost, not carbon",
        ),
        (["--carbon-budget-share", "0"], "--carbon-budget-share 0: must be"),
    ],
)
def test_bad_input_to_the_command(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([*COMMAND, *words]) == 2
    assert message in capsys.readouterr().err
