"""A campus whose contract can be costed by hand: 100 MW of accelerators that are always busy, at 40 USD/MWh.

One site in one zone, carbon free of charge, no frictions, one call of 3 h a week.  Demand exceeds the accelerators and
dropping it costs nothing, so a MWh at the meter is worth the margin of its GPU-h: 0.15 / (0.9e-3 x 1.12) = 148.81 USD.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from gridai_env.scenario.load import parse_scenario
from gridai_env.scenario.spec import Scenario

MAX_MW, CALL_H, PRICE_USD_PER_MWH, MARGIN_USD_PER_GPUH = 100.0, 3.0, 40.0, 0.15
MEETS_USD_PER_MWH = MARGIN_USD_PER_GPUH / (0.9e-3 * 1.12)  # what a MWh at the meter earns
LEAST = 1e-9  # prices must be above 0
ZONE = "NOWHERE"
CALLS = {"per_week": 1, "start_h": [12.0, 12.0], "duration_h": [CALL_H, CALL_H], "hours_a_year": 60.0}


def write_prices(folder: Path) -> Path:
    """Write a constant price for nine days."""
    hours = np.datetime64("2023-07-01T00", "h") + np.arange(9 * 24)
    rows = [f"{hour}:00Z,{ZONE},{PRICE_USD_PER_MWH},400" for hour in hours]
    path = folder / "flat.csv"
    path.write_text("\n".join(["utc,zone,price_usd_per_mwh,carbon_average_kg_per_mwh", *rows]))
    return path


def firm_campus(
    folder: Path, line: dict[str, Any], margin: float = MARGIN_USD_PER_GPUH, **changes: Any
) -> Scenario:
    """Return the scenario with a connection of 70 MW firm; ``line`` makes it hard or gives it a price."""
    return parse_scenario(campus_data(folder, line, margin, **changes), "firm campus")


def campus_data(
    folder: Path, line: dict[str, Any], margin: float = MARGIN_USD_PER_GPUH, **changes: Any
) -> dict[str, Any]:
    """Return the scenario of `firm_campus` as data."""
    gpus = MAX_MW * 1000.0 / (1.15 * 1.12)
    connection = {"name": "non-firm", "kind": "connection", "mw": 70.0, "calls": CALLS} | line
    place = {"latitude": 50.0, "longitude": 8.0}
    site = {
        "name": "campus", "zone": ZONE, "legal_zone": "X", **place, "timezone": "UTC", "gpus": gpus,
        "utilisation_limit": 1.0, "idle_kw_per_gpu": 0.25, "busy_kw_per_gpu": 1.15, "pue_base": 1.12, "pue_per_c": 0.0,
        "grid": {"import_limit_mw": MAX_MW}, "lines": [connection],
    }  # fmt: skip
    task = {
        "name": "work", "share": 1.0, "flatness": 1.0, "latency_budget_ms": 1e6, "processing_ms": 1.0,
        "revenue_usd_per_gpuh": margin, "drop_usd_per_gpuh": LEAST, "payload_gb_per_gpuh": 0.0,
        "relocation_usd_per_gpuh": LEAST, "warm_usd_per_gpuh": LEAST,
    }  # fmt: skip
    region = {
        "name": "all",
        "home": "campus",
        **place,
        "timezone": "UTC",
        "mean_gpus": 2.0 * gpus,
        "noise": 0.0,
    }
    return {
        "name": "firm_campus", "horizon_h": 168.0, "reward_scale_usd": 1.0, "carbon_price_usd_per_t": 0.0,
        "carbon_signal": "average", "traces": str(write_prices(folder)),
        "start": {"first": "2023-07-02", "last": "2023-07-02", "hour_utc": 0}, "latency": {"rtt": "formula"},
        "forecast": {"kind": "perfect", "leads_h": [1.0]},
        "sites": [site], "regions": [region], "classes": [task],
    } | changes  # fmt: skip


def write_campus(folder: Path, line: dict[str, Any], **changes: Any) -> Path:
    """Write the scenario to a file."""
    path = folder / "firm_campus.yaml"
    path.write_text(yaml.safe_dump(campus_data(folder, line, **changes)))
    return path
