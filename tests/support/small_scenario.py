"""A small scenario with everything in it: battery, generator, renewables, waiting work, jobs, events."""

from typing import Any

from gridai_env.scenario.compile import Compiled, compile_scenario
from gridai_env.scenario.load import parse_scenario

SITE: dict[str, Any] = {"legal_zone": "EU", "latitude": 50.0, "longitude": 8.0, "gpus": 1000.0}
SMALL: dict[str, Any] = {
    "name": "small",
    "horizon_h": 48.0,
    "reward_scale_usd": 100.0,
    "carbon_budget_kg": 40000.0,
    "water_price_usd_per_m3": 2.0,
    "sites": [
        {
            **SITE,
            "name": "north",
            "zone": "DE-LU",
            "pv_mw": 0.5,
            "wind_mw": 0.4,
            "site_water_l_per_mwh": 300.0,
            "grid": {
                "export_limit_mw": 1.0,
                "price_adder_usd_per_mwh": 5.0,
                "price_scale": 1.5,
                "price_spread_scale": 2.0,
                "demand_charge_usd_per_mw_month": 4000.0,
            },
            "battery": {"capacity_mwh": 2.0, "power_mw": 0.5},
        },
        {
            **SITE,
            "name": "south",
            "zone": "US-CAL-CISO",
            "latitude": 37.0,
            "longitude": -122.0,
            "speed": 1.5,
            "pv_mw": 0.8,
            "generator": {"capacity_mw": 0.6, "ramp_mw_per_h": 0.6},
        },
    ],
    "regions": [
        {
            "name": "rhine",
            "home": "north",
            "latitude": 50.0,
            "longitude": 8.0,
            "timezone": "Europe/Berlin",
            "mean_gpus": 400.0,
        },
        {
            "name": "bay",
            "home": "south",
            "latitude": 37.0,
            "longitude": -122.0,
            "timezone": "America/Los_Angeles",
            "mean_gpus": 600.0,
            "swing": 0.6,
            "noise": 0.1,
        },
    ],
    "classes": [
        {
            "name": "chat",
            "share": 0.7,
            "latency_budget_ms": 300.0,
            "processing_ms": 20.0,
            "priority": 2,
            "revenue_usd_per_gpuh": 0.2,
            "drop_usd_per_gpuh": 0.3,
            "state_bound_share": 0.4,
            "relocation_gb_per_gpuh": 0.1,
            "warm_mwh_per_gpuh": 0.0001,
        },
        {
            "name": "batch",
            "share": 0.3,
            "latency_budget_ms": 3.6e6,
            "processing_ms": 1000.0,
            "wait_h": 6.0,
            "flatness": 0.5,
            "revenue_usd_per_gpuh": 0.1,
            "drop_usd_per_gpuh": 0.2,
        },
    ],
    "jobs": [
        {
            "name": "late",
            "gpus": 200.0,
            "duration_h": 5.0,
            "release_h": 10.0,
            "deadline_h": 40.0,
            "value_usd": 300.0,
            "release_jitter_h": 6.0,
            "size_jitter": 0.2,
        },
        {
            "name": "early",
            "gpus": 100.0,
            "duration_h": 3.0,
            "release_h": 2.0,
            "deadline_h": 36.0,
            "value_usd": 90.0,
            "sites": ["south"],
            "release_jitter_h": 2.0,
        },
    ],
    "events": [
        {"name": "outage", "kind": "available_gpus", "sites": ["north"], "factor": 0.5, "duration_h": 4.0},
        {"name": "curtail", "kind": "import_limit", "factor": 0.8, "duration_h": 6.0, "probability": 0.5},
        {"name": "line", "kind": "export_limit", "factor": 0.0, "duration_h": 6.0},
        {
            "name": "spike",
            "kind": "price",
            "sites": ["north"],
            "factor": 2.0,
            "add_usd_per_mwh": 100.0,
            "duration_h": 5.0,
            "announced": False,
        },
        {"name": "shock", "kind": "price", "factor": 0.5, "add_usd_per_mwh": 10.0, "duration_h": 5.0},
    ],
}


CALLS: dict[str, Any] = {
    "per_week": 3, "start_h": [6.0, 20.0], "duration_h": [2.0, 4.0], "notice_h": 2.0, "ramp_h": 1.0, "least_gap_h": 3.0
}  # fmt: skip
# Lines of every kind and power modes, by site.
FLEXIBLE: dict[str, dict[str, Any]] = {
    "north": {
        "power_modes": [{"points": [{"speed": 0.9, "kw": 0.95}, {"speed": 1.0, "kw": 1.15}]}],
        "lines": [
            {"name": "non-firm", "kind": "connection", "mw": 0.5, "price_usd_per_mwh": 500.0, "calls": CALLS},
            {"name": "wind", "kind": "matching", "wind_mw": 1.0, "pv_mw": 0.5, "price_usd_per_mwh": 5.0},
            {"name": "hard", "kind": "connection", "mw": 0.4, "hard": True, "calls": CALLS | {"per_week": 1}},
        ],
    },
    "south": {
        "generator": {"capacity_mw": 0.6, "ramp_mw_per_h": 0.6, "only_while_called": True},
        "power_modes": [{"name": "H100 training"}],
        "lines": [
            {"name": "tier", "kind": "tier", "mw": 0.8, "price_usd_per_mwh": 20.0},
            {
                "name": "response",
                "kind": "demand_response",
                "price_usd_per_mwh": 1150.0,
                "commitment_mw": 0.3,
                "energy_price_usd_per_mwh": "market",
                "capacity_usd_per_mw_day": 300.0,
                "baseline": {"days": 5, "weekdays_only": False},
                "calls": CALLS | {"ramp_h": 0.0},
            },
        ],
    },
}


def flexible(**changes: Any) -> Compiled:
    """Return the scenario with lines and power modes, with some top-level keys changed."""
    sites = [site | FLEXIBLE[site["name"]] for site in SMALL["sites"]]
    return small(**{"horizon_h": 96.0, "sites": sites} | changes)


def small(**changes: Any) -> Compiled:
    """Return the compiled scenario with some top-level keys changed."""
    return compile_scenario(parse_scenario({**SMALL, **changes}, "small"))
