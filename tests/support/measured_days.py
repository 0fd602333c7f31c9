"""Five made-up days of one site with demand response, a connection and a contract; every figure by hand, in floats.

Local days are those of Tokyo (UTC+9, no summer time): Saturday to Wednesday.  The site serves what is expected of its
weekdays and weekends, but for hours in which a part is refused.  Three events of two hours strike, on Sunday, Monday
and Wednesday.  Nothing here comes from the package but the keys of the scenario.
"""

from __future__ import annotations

from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np

FIRST_HOUR = "2024-05-28T15:00"  # UTC, of the file: Wednesday 0:00 local, three days before the episode
LEAD_H, HOURS = 72, 120
SUNDAY, MONDAY, WEDNESDAY = (24 * day + 13 for day in (1, 2, 4))
CALLED = tuple(first + i for first in (SUNDAY, MONDAY, WEDNESDAY) for i in range(2))
# In events a part of what was promised is refused; on Tuesday half of all work at the same hours; on two mornings some.
REFUSED = {
    **dict.fromkeys(CALLED, 0.2),
    **dict.fromkeys((3 * 24 + 13, 3 * 24 + 14), 0.5),
    **dict.fromkeys(range(MONDAY - 4, MONDAY - 1), 0.4),
    **dict.fromkeys(range(WEDNESDAY - 4, WEDNESDAY - 1), 0.1),
}
LIMIT_MW, FIRM_MW, COMMITTED_MW, DAYS = 2.0, 0.5, 0.2, 5
WIND_MW, SUN_MW, ADDER = 0.6, 1.5, 10.0
RESPONSE_USD, CONNECTION_USD, CONTRACT_USD, CAPACITY_USD_PER_MW_DAY = 1000.0, 300.0, 7.0, 240.0
BUDGET_KG, MEAN_GPUS = 15_000.0, 400.0


def is_weekend(day: int) -> bool:
    """Day 0 is a Saturday; days before the episode are below 0."""
    return (day + 5) % 7 >= 5


def demand_gpuh(day: int, hour: int) -> float:
    """Work that arrives: most at 15:00, a half more than the mean; half as much on weekends."""
    weekly = 0.5 if is_weekend(day) else 1.0
    return MEAN_GPUS * weekly * (1.0 + 0.5 * cos(2.0 * pi * (hour + 0.5 - 15.0) / 24.0))


def load_mw(gpuh: float) -> float:
    """PUE 1.25, 1000 accelerators of 0.2 kW idle and 1.2 kW busy."""
    return 1.25 * (1000.0 * 0.2 + gpuh * 1.0) / 1000.0


def price_usd_per_mwh(step: int) -> float:
    """Price of the market with the site's adder."""
    return 40.0 + (LEAD_H + step) % 24 + ADDER


def carbon_kg_per_mwh(step: int) -> float:
    """Average intensity."""
    return 300.0 + 10.0 * ((LEAD_H + step) % 11)


def wind_share(step: int) -> float:
    """Capacity factor of the zone's wind."""
    return 0.1 * ((LEAD_H + step) % 7)


def sun_share(step: int) -> float:
    """Capacity factor of the zone's sun."""
    return 0.125 * ((LEAD_H + step) % 5)


def write_trace(folder: Path) -> Path:
    """Write the file of the zone and of the site's calls, from three days before the episode to one after it."""
    rows = ["utc,zone,price_usd_per_mwh,carbon_average_kg_per_mwh,wind_cf,pv_cf,call_yard"]
    for i in range(LEAD_H + HOURS + 24):
        step = i - LEAD_H
        figures = (
            price_usd_per_mwh(step) - ADDER,
            carbon_kg_per_mwh(step),
            wind_share(step),
            sun_share(step),
        )
        stamp = np.datetime64(FIRST_HOUR, "m") + np.timedelta64(60 * i, "m")
        rows.append(",".join([f"{stamp}Z", "NIPPON", *map(repr, figures), str(int(step in CALLED))]))
    path = folder / "measured_days.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def scenario_data(folder: Path, quantity: str | None = None, weekdays_only: bool = True) -> dict[str, Any]:
    """Return the scenario as data; ``quantity``: of its constraint."""
    place = {"latitude": 35.7, "longitude": 139.7, "timezone": "Asia/Tokyo"}
    calls = {"source": "traces"}
    lines = [
        {
            "name": "response", "kind": "demand_response", "price_usd_per_mwh": RESPONSE_USD, "calls": calls,
            "commitment_mw": COMMITTED_MW, "energy_price_usd_per_mwh": "market",
            "capacity_usd_per_mw_day": CAPACITY_USD_PER_MW_DAY,
            "baseline": {"days": DAYS, "weekdays_only": weekdays_only},
        },
        {"name": "contract", "kind": "matching", "wind_mw": WIND_MW, "pv_mw": SUN_MW,
         "price_usd_per_mwh": CONTRACT_USD},
        {"name": "connection", "kind": "connection", "mw": FIRM_MW, "price_usd_per_mwh": CONNECTION_USD,
         "calls": calls},
    ]  # fmt: skip
    site = {
        **place, "name": "yard", "zone": "NIPPON", "legal_zone": "JP", "gpus": 1000.0, "utilisation_limit": 1.0,
        "idle_kw_per_gpu": 0.2, "busy_kw_per_gpu": 1.2, "pue_base": 1.25, "pue_per_c": 0.0,
        "grid": {"import_limit_mw": LIMIT_MW, "price_adder_usd_per_mwh": ADDER}, "lines": lines,
    }  # fmt: skip
    region = {
        **place, "name": "kanto", "home": "yard", "mean_gpus": MEAN_GPUS, "peak_hour": 15.0, "swing": 0.5,
        "weekend_factor": 0.5, "noise": 0.0,
    }  # fmt: skip
    work = {
        "name": "work", "share": 1.0, "latency_budget_ms": 1e6, "processing_ms": 1.0, "revenue_usd_per_gpuh": 0.5,
        "drop_usd_per_gpuh": 0.25, "payload_gb_per_gpuh": 0.0,
    }  # fmt: skip
    constraint = {} if quantity is None else {"constraint": {"quantity": quantity, "budget": 1.0}}
    return {
        "name": "measured days", "horizon_h": float(HOURS), "reward_scale_usd": 1.0, "carbon_signal": "average",
        "carbon_price_usd_per_t": 0.0, "carbon_budget_kg": BUDGET_KG, "traces": str(write_trace(folder)),
        "start": {"first": "2024-05-31", "last": "2024-05-31", "hour_utc": 15}, "latency": {"rtt": "formula"},
        "forecast": {"kind": "perfect", "leads_h": [1.0]},
        "sites": [site], "regions": [region], "classes": [work], **constraint,
    }  # fmt: skip


def action(step: int) -> list[float]:
    """Return the action of a step: home, nothing held, what is refused, battery and generator idle, no renewables."""
    refused = REFUSED.get(step, 0.0)
    return [1.0, 0.0, 0.5 * (refused + 1.0) if refused else 0.0, 0.0, 0.0, 0.0]


def import_mw(step: int) -> float:
    """Return what the site takes from the grid; before the episode what it is expected to."""
    return load_mw(demand_gpuh(step // 24, step % 24) * (1.0 - REFUSED.get(step, 0.0)))


def has_event(day: int) -> bool:
    """Whether a day has one."""
    return any(called // 24 == day for called in CALLED)


def baseline_mw(step: int, weekdays_only: bool = True) -> float:
    """Return the mean of the same hour on the last days that count: no event, and no weekend where only weekdays do."""
    found: list[float] = []
    day, hour = step // 24 - 1, step % 24
    while len(found) < DAYS:
        if not has_event(day) and not (weekdays_only and is_weekend(day)):
            found.append(import_mw(24 * day + hour))
        day -= 1
    return sum(found) / DAYS


def lines_mw(step: int, weekdays_only: bool = True) -> tuple[float, float, float]:
    """Return the limits of the response, the contract and the connection."""
    called = step in CALLED
    response = baseline_mw(step, weekdays_only) - COMMITTED_MW if called else LIMIT_MW
    contract = WIND_MW * wind_share(step) + SUN_MW * sun_share(step)
    return response, contract, FIRM_MW if called else LIMIT_MW


def excess_mw(step: int, weekdays_only: bool = True) -> tuple[float, ...]:
    """Return what lies above each of the lines."""
    return tuple(max(0.0, import_mw(step) - line) for line in lines_mw(step, weekdays_only))


def above_lines_mwh(step: int, weekdays_only: bool = True) -> float:
    """Return the import above the response and the connection; what a contract does not match is apart."""
    response, _, connection = excess_mw(step, weekdays_only)
    return response + connection


def costs(quantity: str) -> list[float]:
    """Return what counts against the constraint, step by step; a budget of carbon knows no refund."""
    if quantity == "line_excess_mwh":
        return [above_lines_mwh(t) for t in range(HOURS)]
    if quantity == "dropped_gpuh":
        return [REFUSED.get(t, 0.0) * demand_gpuh(t // 24, t % 24) for t in range(HOURS)]
    out, left_kg = [], BUDGET_KG
    for t in range(HOURS):
        kg = import_mw(t) * carbon_kg_per_mwh(t)
        out.append(max(0.0, kg - left_kg))
        left_kg = max(0.0, left_kg - kg)
    return out


def costs_of_batch(envs: Any) -> np.ndarray:
    """Play the days in all environments of a batch and return what they show as cost [T,B]."""
    envs.reset(seed=[0] * envs.num_envs)
    shown = []
    for t in range(HOURS):
        infos = envs.step(np.array([action(t)] * envs.num_envs, np.float32))[4]
        # The step that ends an episode shows the next one.
        shown.append(np.array(infos.get("final_info", infos)["cost"]))
    return np.stack(shown)
