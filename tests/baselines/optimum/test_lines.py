"""Lines and power modes in the optimum: hand calculations, gaming of a baseline, and lines that do not bind."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from baselines.optimum.milp import Plan, solve
from baselines.program.rows import baseline_credit_usd_per_mwh
from gridai_env.episodes.instance import Instance, make_batch
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import parse_scenario
from tests.support.small_scenario import FLEXIBLE, SMALL, flexible
from tests.support.strategies import with_guards

SITE: dict[str, Any] = {
    "name": "site", "zone": "US-MIDA-PJM", "latitude": 38.9, "longitude": -77.5, "legal_zone": "US", "timezone": "UTC",
    "gpus": 10000.0, "utilisation_limit": 1.0, "pue_base": 1.12, "pue_per_c": 0.0,
}  # fmt: skip
ONE_SITE: dict[str, Any] = {
    "name": "one site", "horizon_h": 2.0, "reward_scale_usd": 1000.0, "carbon_price_usd_per_t": 0.0,
    "start": {"first": "2023-07-03", "last": "2023-07-03"}, "forecast": {"kind": "perfect", "leads_h": [1.0]},
    "regions": [
        {"name": "all", "home": "site", "latitude": 38.9, "longitude": -77.5, "timezone": "UTC", "mean_gpus": 20000.0,
         "swing": 0.0, "noise": 0.0, "weekend_factor": 1.0}
    ],
    "classes": [
        {"name": "work", "share": 1.0, "latency_budget_ms": 300.0, "processing_ms": 10.0,
         "revenue_usd_per_gpuh": 1.0, "drop_usd_per_gpuh": 0.1}
    ],
}  # fmt: skip


def one_site(site: dict[str, Any] | None = None, **changes: Any) -> Instance:
    """One site with twice the demand that it can serve, at a price of 40 USD/MWh."""
    scenario = parse_scenario({**ONE_SITE, "sites": [{**SITE, **(site or {})}], **changes}, "one site")
    instance = make_batch(compile_scenario(scenario), [0])[0]
    exo = instance.exogenous
    forty = np.full_like(exo.buy_usd_per_mwh, 40.0)
    prices = {"buy_usd_per_mwh": forty, "network_usd_per_mwh": forty, "sell_usd_per_mwh": forty - 2.0}
    return with_guards(replace(instance, exogenous=exo.replace(**prices)))


# Power modes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modes", "busy_kw", "limit_kw", "throughput"),
    [
        ([], 1.15, 0.8625, 0.681),
        ([{"name": "H100 training"}], 1.15, 0.8625, 0.689),
        ([{"name": "H100 decode"}], 0.900, 0.675, 0.894),
    ],
    ids=["idling", "training", "decode"],
)
def test_throughput_at_three_quarters_of_the_power(
    modes: list[dict[str, Any]], busy_kw: float, limit_kw: float, throughput: float
) -> None:
    """Check 6: 10,000 accelerators, a quarter of their power gone."""
    limit = {"import_limit_mw": 1.12 * limit_kw * 10.0}
    plan = solve(one_site({"busy_kw_per_gpu": busy_kw, "power_modes": modes, "grid": limit}))
    assert plan.flows is not None
    served = plan.flows.served_gpuh.sum((1, 2, 3)) / 10000.0
    assert served == pytest.approx(throughput, abs=5e-4)
    assert plan.flows.import_mw == pytest.approx(limit["import_limit_mw"])


def test_a_mix_of_curves_is_no_worse_than_its_parts() -> None:
    """Half decode, half training: the segments of both, the cheapest first, each half as long."""
    halves = [{"name": "H100 decode", "share": 0.5}, {"name": "H100 training", "share": 0.5}]
    for share in (0.3, 0.5, 0.7, 0.9):
        limit = {"import_limit_mw": 1.12 * 10.0 * (0.25 + share * 0.775)}
        together = solve(one_site({"busy_kw_per_gpu": 1.025, "power_modes": halves, "grid": limit}))
        assert together.flows is not None
        # By hand: power goes where it gives most speed.  Slopes in kW per speed, lengths in speed.
        segments = [
            (0.461 / 0.97, 0.485),
            (4.5, 0.005),
            (7.2, 0.01),
            (0.711 / 0.8, 0.4),
            (0.89, 0.05),
            (1.0, 0.05),
        ]
        left, speed = share * 0.775, 0.0
        for slope, length in sorted(segments):
            taken = min(length, left / slope)
            speed, left = speed + taken, left - taken * slope
        served = together.flows.served_gpuh.sum((1, 2, 3)) / 10000.0
        assert served == pytest.approx(speed, abs=1e-6), share


# Gaming ---------------------------------------------------------------------------------------------------------------

DAYS, EVENT_H = 10, slice(12, 16)  # of the baseline, and of the day after them


BATTERY = {
    "capacity_mwh": 2.0, "power_mw": 10.0, "charge_efficiency": 0.8, "discharge_efficiency": 0.8, "min_share": 0.0,
    "max_share": 1.0, "wear_usd_per_mwh": 1.0,
}  # fmt: skip


@cache
def gaming_world(battery: bool = False) -> Instance:
    """Ten days that count, then an event; 20 MW of sun and wind, or a battery, stand beside a load not to be cut."""
    line = {
        "name": "response", "kind": "demand_response", "commitment_mw": 15.0, "price_usd_per_mwh": 1150.0,
        "baseline": {"days": DAYS, "weekdays_only": False},
        "calls": {"start_h": [12.0, 12.0], "duration_h": [4.0, 4.0]},
    }  # fmt: skip
    hours = 24.0 * (DAYS + 1)
    # The load is that of idle accelerators and of the building: nothing of it can be shifted or cut.
    site = {"idle_kw_per_gpu": 1.0, "base_load_mw": 20.0, "wind_mw": 20.0, "lines": [line]}
    site |= {"battery": BATTERY} if battery else {}
    instance = one_site(site, horizon_h=hours)
    exo, event = instance.exogenous, np.arange(int(hours)) // 24 == DAYS
    event &= (np.arange(int(hours)) % 24 >= EVENT_H.start) & (np.arange(int(hours)) % 24 < EVENT_H.stop)
    called = np.where(event, 1.0, 0.0)[:, None, None]
    # All days of the baseline lie in the episode: the line is their mean less what was promised.
    changes = {
        "arrivals_gpuh": 0.0 * exo.arrivals_gpuh,
        "growth": 0.0 * exo.growth,
        "renewable_available_mw": np.full_like(exo.renewable_available_mw, 0.0 if battery else 20.0),
        "line_mw": np.where(called > 0.0, -15.0, 1e3),
        "committed_mw": 15.0 * called,
        "baseline_share": called / DAYS,
        "baseline_counts": np.where(np.arange(int(hours)) >= 24, 1.0, 0.0)[:, None],
    }
    initial = instance.initial.replace(placed_gpuh=0.0 * instance.initial.placed_gpuh)
    return replace(instance, exogenous=exo.replace(**changes), initial=initial)


@cache
def gamed(price_usd_per_mwh: float, battery: bool = False) -> Plan:
    """The optimum at a shortfall price, energy not paid."""
    instance = gaming_world(battery)
    called = instance.exogenous.committed_mw > 0.0
    prices = {
        "line_usd_per_mwh": price_usd_per_mwh * called,
        "response_usd_per_mwh": 0.0 * called,
    }
    return solve(with_guards(replace(instance, exogenous=instance.exogenous.replace(**prices))), mip_gap=1e-9)


def baseline_mw(plan: Plan) -> float:
    """Mean baseline over the event."""
    assert plan.flows is not None
    net = (plan.flows.import_mw - plan.flows.export_mw)[:, 0].reshape(DAYS + 1, 24)
    return float(net[:DAYS, EVENT_H].mean())


def inflation_mw(price_usd_per_mwh: float) -> float:
    """Baseline of the optimum less that of the optimum without the programme."""
    return baseline_mw(gamed(price_usd_per_mwh)) - baseline_mw(gamed(0.0))


def test_a_baseline_is_gamed_where_it_pays() -> None:
    """Check 3: a MWh more on each of ten days costs 400 USD, and saves a MWh of shortfall in the event."""
    assert inflation_mw(1150.0) > 1.0
    assert inflation_mw(150.0) == pytest.approx(0.0, abs=1e-6)
    low, high = 150.0, 1150.0
    while high - low > 2.0:
        middle = (low + high) / 2.0
        low, high = (low, middle) if inflation_mw(middle) > 1e-3 else (middle, high)
    assert (low + high) / 2.0 == pytest.approx(400.0, rel=0.01)


def test_a_battery_burns_nothing_for_a_baseline() -> None:
    """Charging against discharging would burn MWh of 40 USD to earn 115 in the baseline."""
    plan = gamed(1150.0, battery=True)
    assert plan.flows is not None
    assert not ((plan.flows.charge_mw > 1e-6) & (plan.flows.discharge_mw > 1e-6)).any()
    assert plan.solver_objective == pytest.approx(plan.objective_value, rel=1e-9)


def test_a_baseline_is_credited_with_later_events() -> None:
    """A tenth of shortfall and payment of the events to come, this step's included."""
    exo = gaming_world().exogenous.map(lambda values: values[:4])
    share, line, paid = (np.zeros_like(exo.baseline_share) for _ in range(3))
    share[[1, 2], 0, 0], line[[1, 2], 0, 0], paid[1, 0, 0] = 0.1, [100.0, 50.0], 20.0
    changed = exo.replace(baseline_share=share, line_usd_per_mwh=line, response_usd_per_mwh=paid)
    assert baseline_credit_usd_per_mwh(changed)[:, 0] == pytest.approx([17.0, 17.0, 5.0, 0.0])


# Lines that do not bind -----------------------------------------------------------------------------------------------


def without_lines(**changes: Any) -> Instance:
    """The small world whose sites have power modes alone."""
    own = {name: {k: v for k, v in keys.items() if k == "power_modes"} for name, keys in FLEXIBLE.items()}
    own["south"]["generator"] = SMALL["sites"][1]["generator"]
    sites = [site | own[site["name"]] for site in SMALL["sites"]]
    return _of({"sites": sites, "horizon_h": 96.0} | changes)


def _of(changes: dict[str, Any]) -> Instance:
    return make_batch(compile_scenario(parse_scenario({**SMALL, **changes}, "small")), [3])[0]


@pytest.mark.parametrize("how", ["free", "infinite"])
def test_lines_that_do_not_bind_change_nothing(how: str) -> None:
    with_lines, plain = make_batch(flexible(), [3])[0], without_lines()
    exo = with_lines.exogenous
    changes = {
        "import_limit_mw": plain.exogenous.import_limit_mw,
        "generator_open": np.ones_like(exo.generator_open),
        "response_usd_per_mwh": 0.0 * exo.response_usd_per_mwh,
    }
    changes |= (
        {"line_usd_per_mwh": 0.0 * exo.line_usd_per_mwh}
        if how == "free"
        else {"line_mw": 1e6 + 0.0 * exo.line_mw}
    )
    p = with_lines.params.replace(
        capacity_usd_per_h=0.0 * with_lines.params.capacity_usd_per_h,
        shed_usd_per_mwh=plain.params.shed_usd_per_mwh,
        gpu_short_usd_per_gpuh=plain.params.gpu_short_usd_per_gpuh,
    )
    same = solve(replace(with_lines, exogenous=exo.replace(**changes), params=p), mip_gap=1e-9)
    other = solve(plain, mip_gap=1e-9)
    assert same.objective_value == pytest.approx(other.objective_value, rel=1e-9)


def test_a_plan_with_a_small_spread_replays() -> None:
    """Import beside export burns nothing that a baseline pays for: it counts what is imported less what is exported."""
    site = {"grid": {"export_limit_mw": 30.0, "sell_share": 1.0, "sell_spread_usd_per_mwh": 0.01}}
    lines = flexible().scenario.sites[1].model_dump(mode="json")["lines"][1]
    lines["commitment_mw"], lines["calls"]["per_week"] = 5.0, 3
    lines["calls"]["notice_h"] = 0.0
    instance = one_site({**site, "wind_mw": 20.0, "lines": [lines]}, horizon_h=96.0)
    plan = solve(instance, mip_gap=1e-9)
    assert plan.solver_objective == pytest.approx(plan.objective_value, rel=1e-9)


def test_the_line_of_an_event_is_the_mean_of_past_days() -> None:
    """A plan's lines, from its own imports: days of the episode that count, and those before it."""
    seen = 0
    for one in make_batch(flexible(jobs=[], carbon_budget_kg=None), range(3)):
        exo, rule = one.exogenous, one.compiled.lines.baselines[0]
        at = (rule.slot, rule.site)
        plan = solve(one, mip_gap=1e-2)
        assert plan.flows is not None
        net = (plan.flows.import_mw - plan.flows.export_mw)[:, rule.site]
        counts = exo.baseline_counts[:, rule.site]
        for t in np.flatnonzero(exo.committed_mw[(slice(None), *at)] > 0.0):
            inside = [net[s - 24] for s in range(t, 23, -24) if counts[s] > 0.5]
            seen += bool(inside)
            line = exo.line_mw[(t, *at)] + sum(inside) * exo.baseline_share[(t, *at)]
            excess = max(plan.flows.import_mw[t, rule.site] - line, 0.0)
            assert plan.flows.line_excess_mw[(t, *at)] == pytest.approx(excess, abs=1e-7)
    assert seen > 3
